// Package frame reads and writes WebSocket frames (RFC 6455, section 5) in
// plain byte slices. It serves both the load generator and the yardstick
// servers, which do without a WebSocket library so that no library's cost is
// part of what they measure.
package frame

import (
	"encoding/binary"
	"errors"
)

// Opcodes of the frames that occur here.
const (
	Continuation = 0x0
	Text         = 0x1
	Binary       = 0x2
	Close        = 0x8
	Ping         = 0x9
	Pong         = 0xA
)

// Limit is the largest payload that Parse accepts. No message of the benchmark
// comes near it, so a longer one means that the stream is out of step.
const Limit = 1 << 20

// Errors of Parse.
var (
	ErrReserved = errors.New("frame: reserved bit set without an extension")
	ErrControl  = errors.New("frame: control frame is fragmented or longer than 125 bytes")
	ErrLength   = errors.New("frame: payload over the limit")
)

const (
	finalBit     = 0x80
	reservedBits = 0x70
	maskBit      = 0x80
)

// A Frame is one frame as it lies in the buffer that was parsed.
type Frame struct {
	Final   bool
	Masked  bool
	Opcode  byte
	Key     [4]byte // the mask, where Masked is set
	Payload []byte  // still masked, where Masked is set
}

// Parse reads the frame at the start of b and says how many bytes it takes.
// A size of 0 without an error means that the frame has not arrived whole.
func Parse(b []byte) (f Frame, size int, err error) {
	if len(b) < 2 {
		return f, 0, nil
	}
	if b[0]&reservedBits != 0 {
		return f, 0, ErrReserved
	}
	length, at := uint64(b[1]&^maskBit), 2
	switch length {
	case 126:
		if len(b) < 4 {
			return f, 0, nil
		}
		length, at = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case 127:
		if len(b) < 10 {
			return f, 0, nil
		}
		length, at = binary.BigEndian.Uint64(b[2:]), 10
	}
	f.Final, f.Opcode, f.Masked = b[0]&finalBit != 0, b[0]&0x0F, b[1]&maskBit != 0
	if f.Opcode >= Close && (!f.Final || length > 125) {
		return f, 0, ErrControl
	}
	if length > Limit {
		return f, 0, ErrLength
	}
	if f.Masked {
		if len(b) < at+4 {
			return f, 0, nil
		}
		f.Key = [4]byte(b[at:])
		at += 4
	}
	if uint64(len(b)-at) < length {
		return f, 0, nil
	}
	end := at + int(length)
	f.Payload = b[at:end]
	return f, end, nil
}

// AppendHeader appends the header of an unmasked, unfragmented frame, which is
// what a server sends.
func AppendHeader(dst []byte, opcode byte, length int) []byte {
	return appendHeader(dst, opcode, 0, length)
}

// AppendMasked appends a whole frame as a client sends it.
func AppendMasked(dst []byte, opcode byte, payload []byte, key [4]byte) []byte {
	dst = appendHeader(dst, opcode, maskBit, len(payload))
	dst = append(dst, key[:]...)
	start := len(dst)
	dst = append(dst, payload...)
	Mask(dst[start:], key)
	return dst
}

func appendHeader(dst []byte, opcode, mask byte, length int) []byte {
	dst = append(dst, finalBit|opcode)
	switch {
	case length < 126:
		return append(dst, mask|byte(length))
	case length < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, mask|126), uint16(length))
	default:
		return binary.BigEndian.AppendUint64(append(dst, mask|127), uint64(length))
	}
}

// Mask applies the mask to b in place; a second call takes it off again.
func Mask(b []byte, key [4]byte) {
	word := uint64(binary.LittleEndian.Uint32(key[:]))
	word |= word << 32
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^word)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= key[i&3]
	}
}
