package message_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/hubbub-go/hubbub/message"
)

type Text struct {
	Body string `json:"body"`
}

func (t *Text) Validate() error {
	if t.Body == "" {
		return &message.Error{Code: message.Invalid, Message: "say something", Field: "content.body"}
	}
	return nil
}

// A Kind binds a wire type to a Go type.
func ExampleKind() {
	const Say message.Kind[Text] = "chat.say"

	e := Say.New(Text{Body: "hi"})
	fmt.Println(e.Type, Say == "chat.say")
	// Output: chat.say true
}

// Content is decoded strictly, and checked where it can check itself.
func ExampleRaw_Decode() {
	for _, content := range []string{`{"body":"hi"}`, `{"body":""}`, `{"body":1}`} {
		var t Text
		err := message.Raw{Data: []byte(content)}.Decode(nil, &t)
		fmt.Println(t.Body, err)
	}
	// Output:
	// hi <nil>
	//  invalid: say something (content.body)
	//  invalid: content.body cannot be a number (content.body)
}

// Only what is meant for a client reaches it.
func ExamplePublic() {
	fmt.Println(message.Public(message.Errorf(message.Denied, "members only")))
	fmt.Println(message.Public(errors.New("the password of the database is …")))
	// Output:
	// denied: members only
	// internal
}

// Decode reads what a client has sent.
func ExampleDecode() {
	e, err := message.Decode([]byte(`{"type":"chat.say","room":"chat/1","content":{"body":"hi"}}`), false)
	fmt.Printf("%s %s %s %v\n", e.Type, e.Room, e.Content.Data, err)

	_, err = message.Decode([]byte(`{"type":"a","type":"b"}`), false)
	fmt.Println(err)
	// Output:
	// chat.say chat/1 {"body":"hi"} <nil>
	// malformed: the member "type" is there twice
}

// A Call is a question: the wire type with the Go types of both directions.
func ExampleCall() {
	const Half message.Call[int, float64] = "half"

	f, _ := message.Encode(Half.New(7), nil, message.Disconnect)
	e, _ := message.Decode(f.Payload(), f.Binary())
	fmt.Println(e.Type, string(e.Content.Data))
	// Output: half 7
}

// An error names a code for programs, a sentence for people, and where it
// helps, the field and when to try again.
func ExampleError() {
	err := &message.Error{Code: message.RateLimited, Message: "slow down", RetryAfter: 250 * time.Millisecond}

	f, _ := message.Encode(message.New("error", err.Content()), nil, message.Disconnect)
	e, _ := message.Decode(f.Payload(), f.Binary())
	fmt.Println(string(e.Content.Data))

	back := message.ErrorFrom(e.Content)
	fmt.Println(back.Code == message.RateLimited, back.RetryAfter)
	// Output:
	// {"code":"rate_limited","message":"slow down","retryAfter":250}
	// true 250ms
}

// Who cannot take a typing notice at once goes without.
func ExampleEnvelope_Volatile() {
	const Typing message.Kind[string] = "chat.typing"

	e := Typing.New("ada").Volatile()
	f, _ := message.Encode(e, nil, message.Disconnect)
	fmt.Println(f.Policy() == message.Volatile)
	// Output: true
}
