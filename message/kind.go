package message

// Kind is the wire type of a message together with the Go type of its content.
// It is a constant, so it stands beside the struct that it names, works in a
// switch, and costs nothing:
//
//	const Say message.Kind[Text] = "chat.say"
//
// T is any type that the Codec can encode; []byte travels as a binary message,
// and Raw takes content of either kind as it is.
type Kind[T any] string

// New returns an envelope of this kind around content.
func (k Kind[T]) New(content T) Envelope { return New(string(k), content) }

// Call is the wire type of a question together with the Go types of its content
// and of its answer. Either side may ask: see hub.Reply and hub.Ask.
type Call[Req, Res any] string

// New returns an envelope that asks this question.
func (c Call[Req, Res]) New(content Req) Envelope { return New(string(c), content) }

// validator is what content may implement, on the value or its pointer: every
// decoded content is checked, and the error reaches the sender as Invalid.
type validator interface{ Validate() error }
