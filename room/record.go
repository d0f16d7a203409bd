package room

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
)

// Session identifies who a member is over its reconnects. The zero Session is
// nobody.
type Session [16]byte

// SessionOf returns the session that belongs to a secret.
func SessionOf(secret string) Session {
	sum := sha256.Sum256([]byte(secret))
	return Session(sum[:16])
}

// record is what a log keeps of a message: who is not to get it as a message, and
// whom to tell that it is stored, in front of the payload that members get.
type record struct {
	sender  Session   // zero: nobody is told
	id      string    // the sender's; empty: it did not ask
	from    string    // the sender's member ID, whose session may change; empty: unknown
	sum     uint64    // of what the sender sent; 0: unknown
	skip    bool      // the sender does not get it as a message
	except  []Session // do not get it either
	binary  bool
	payload []byte
}

const recordVersion = 1

// Flags of a record.
const (
	isBinary = 1 << iota
	hasSender
	skipsSender
)

// append writes the record. The limits of the protocol keep lengths in a byte.
func (r *record) append(b []byte) []byte {
	flags := byte(0)
	if r.binary {
		flags |= isBinary
	}
	if r.sender != (Session{}) {
		flags |= hasSender
	}
	if r.skip {
		flags |= skipsSender
	}
	b = append(b, recordVersion, flags)
	if flags&hasSender != 0 {
		b = append(b, r.sender[:]...)
		b = binary.BigEndian.AppendUint64(b, r.sum)
		b = append(append(b, byte(len(r.id))), r.id...)
		b = append(append(b, byte(len(r.from))), r.from...)
	}
	b = binary.AppendUvarint(b, uint64(len(r.except)))
	for _, s := range r.except {
		b = append(b, s[:]...)
	}
	return append(b, r.payload...)
}

var errRecord = errors.New("room: a log keeps something that is no message of ours")

// parse is the inverse of append. The payload points into data.
func (r *record) parse(data []byte) error {
	if len(data) < 3 || data[0] != recordVersion {
		return errRecord
	}
	flags, data := data[1], data[2:]
	*r = record{binary: flags&isBinary != 0, skip: flags&skipsSender != 0}
	if flags&hasSender != 0 {
		if len(data) < 24 {
			return errRecord
		}
		r.sender, r.sum, data = Session(data[:16]), binary.BigEndian.Uint64(data[16:]), data[24:]
		var ok bool
		if r.id, data, ok = short(data); !ok {
			return errRecord
		}
		if r.from, data, ok = short(data); !ok {
			return errRecord
		}
	}
	n, used := binary.Uvarint(data)
	if used <= 0 || n > uint64(len(data)-used)/16 {
		return errRecord
	}
	data = data[used:]
	for range n {
		r.except, data = append(r.except, Session(data[:16])), data[16:]
	}
	r.payload = data
	head := data
	if r.binary {
		head, _, _ = bytes.Cut(data, []byte{'\n'})
	}
	if !bytes.HasSuffix(head, []byte{'}'}) || r.binary && len(head) == len(data) {
		return errRecord
	}
	return nil
}

// short takes a text of up to 255 bytes from the front of data.
func short(data []byte) (text string, rest []byte, ok bool) {
	if len(data) == 0 || len(data) <= int(data[0]) {
		return "", nil, false
	}
	n := 1 + int(data[0])
	return string(data[1:n]), data[n:], true
}

// dedupe is the key under which a log remembers a message of a sender: 16
// characters, different in every room and for everybody.
func dedupe(class, room string, sender Session, id string, n int) string {
	h := sha256.New()
	for _, part := range []string{class, room, string(sender[:]), id} {
		h.Write(binary.AppendUvarint(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	h.Write(binary.AppendUvarint(nil, uint64(n)))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:12])
}
