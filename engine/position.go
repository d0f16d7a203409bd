package engine

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
)

// Position is a place in the log of one room. The zero Position is before
// everything.
type Position struct {
	// Epoch is the identity of the log: positions of different epochs do not
	// compare. A log whose content was lost starts again in another epoch. No
	// log has epoch 0.
	Epoch uint64

	// Offset increases from entry to entry inside an epoch, from 1 at least, not
	// necessarily by 1.
	Offset uint64

	// Tag is TagOf the entry at Offset, 0 if there is none or none is known. It
	// tells apart the entries of a log that lost its newest ones and then used
	// their offsets again.
	Tag uint32
}

// Same reports whether both are the same place: tags count if both are known.
func (p Position) Same(q Position) bool {
	return p.Epoch == q.Epoch && p.Offset == q.Offset && (p.Tag == q.Tag || p.Tag == 0 || q.Tag == 0)
}

// version comes first in the text of a position.
const version = 1

// The bounds of a position's text: base64url of version, epoch, tag and an
// offset of 1 to 10 bytes.
const (
	shortest = 19
	longest  = 31
)

// String returns the text that clients keep as their cursor: base64url, without
// padding, of a version byte, the epoch and the tag in big endian and the offset
// as a uvarint. It has 19 to 31 characters.
func (p Position) String() string {
	b := make([]byte, 0, 1+8+4+binary.MaxVarintLen64)
	b = append(b, version)
	b = binary.BigEndian.AppendUint64(b, p.Epoch)
	b = binary.BigEndian.AppendUint32(b, p.Tag)
	b = binary.AppendUvarint(b, p.Offset)
	return base64.RawURLEncoding.EncodeToString(b)
}

// A client sent it: which rule it broke is of no use to anybody.
var errPosition = errors.New("engine: not the text of a position")

// ParsePosition is the inverse of Position.String. It accepts nothing else: no
// other way to write the same position, no other version.
func ParsePosition(text string) (Position, error) {
	if len(text) < shortest || len(text) > longest {
		return Position{}, errPosition
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) < 1+8+4+1 || b[0] != version {
		return Position{}, errPosition
	}
	offset, n := binary.Uvarint(b[13:])
	if n <= 0 || n != len(b)-13 {
		return Position{}, errPosition
	}
	p := Position{Epoch: binary.BigEndian.Uint64(b[1:]), Tag: binary.BigEndian.Uint32(b[9:]), Offset: offset}
	if p.String() != text { // padded bits, a long way to write a small offset, line feeds
		return Position{}, errPosition
	}
	return p, nil
}
