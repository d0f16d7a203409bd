package message

import (
	"errors"
	"sync"
	"sync/atomic"
)

// Policy says what happens to a message of a room at a receiver whose
// connection does not take messages as fast as they come. All policies stand
// under the connection's hard limit of pending bytes; past that it is closed
// with 4003, so that the client comes back and resumes.
type Policy uint8

const (
	// Disconnect keeps every message until the hard limit. It is the default:
	// a client that stays connected has missed nothing.
	Disconnect Policy = iota
	// DropOldest throws away the oldest pending messages of the same room once
	// half of the hard limit is pending.
	DropOldest
	// LatestOnly keeps one pending message of the room, the newest; of messages
	// that are Envelope.Keyed, one for each key. The newer one takes the place of
	// the older, so that one that changes often has its turn as well; but it does
	// not overtake messages of the room that have another policy.
	LatestOnly
	// Volatile throws a message away for every receiver that cannot take it at
	// once. Envelope.Volatile asks for it for one message.
	Volatile
	// CatchUp is for rooms that keep a log: once half of the hard limit is
	// pending, the connection refuses the message with ErrBehind, and the sender
	// reads from the log later what was refused.
	CatchUp
	// CatchUpLatest is for rooms that keep the newest message of each key: it is
	// LatestOnly, but refused as by CatchUp. Where LatestOnly would have to drop the
	// older message from its place, that is sent too.
	CatchUpLatest
)

// ErrBehind is returned for a message of the policy CatchUp or CatchUpLatest that
// was not queued. The connection lives.
var ErrBehind = errors.New("message: the receiver is behind; it can be caught up when Conn.Drained says so")

// Variant names one encoding of a frame.
type Variant uint8

// The encodings that exist. A transport that speaks another dialect adds one.
const (
	WebSocket         Variant = iota // an RFC 6455 frame, unmasked
	WebSocketDeflated                // the same with permessage-deflate, RFC 7692
	variants
)

// headroom is kept free in front of a payload, so that the longest header of an
// unmasked RFC 6455 frame can be put there without copying the payload.
const headroom = 10

// Frame is one encoded message, made once and shared by the queues of all who
// get it. It holds its encodings, each made at most once and on first use. It
// must not be modified and is safe for concurrent use.
type Frame struct {
	buf    []byte // headroom, then the payload
	room   string
	key    string
	policy Policy
	binary bool

	taken   bool       // one of the encodings has the headroom
	mu      sync.Mutex // held while an encoding is made
	made    [variants]atomic.Bool
	encoded [variants]Encoded
}

// Encoded is a frame in one of its encodings: what queues hold, and never modify.
type Encoded struct {
	Frame *Frame // nil for what is no message, as a ping
	Bytes []byte // of all that is written for it
}

// Payload is the message as the protocol defines it, without a transport's
// framing. It must not be modified.
func (f *Frame) Payload() []byte { return f.buf[headroom:] }

// Binary reports whether the payload is that of a binary message.
func (f *Frame) Binary() bool { return f.binary }

// Room is the room the frame comes from, or "".
func (f *Frame) Room() string { return f.room }

// Key is what Envelope.Keyed was given, or "".
func (f *Frame) Key() string { return f.key }

// Policy is what a slow receiver's connection does with the frame.
func (f *Frame) Policy() Policy { return f.policy }

// Encoding returns the frame in encoding v, calling encode the first time.
func (f *Frame) Encoding(v Variant, encode func(*Frame) []byte) *Encoded {
	if !f.made[v].Load() {
		f.encode(v, encode)
	}
	return &f.encoded[v]
}

func (f *Frame) encode(v Variant, encode func(*Frame) []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.made[v].Load() {
		f.encoded[v] = Encoded{f, encode(f)}
		f.made[v].Store(true)
	}
}

// Prefixed returns head, of at most 10 bytes, followed by the payload. It is for
// the function that Encoding calls. The first such call needs no copy; the others,
// should another encoding want it too, make one.
func (f *Frame) Prefixed(head []byte) []byte {
	if f.taken {
		return append(append(make([]byte, 0, len(head)+len(f.Payload())), head...), f.Payload()...)
	}
	f.taken = true
	out := f.buf[headroom-len(head):]
	copy(out, head)
	return out
}
