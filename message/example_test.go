package message_test

import (
	"errors"
	"fmt"

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
