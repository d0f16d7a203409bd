//go:build linux

package load

import "bytes"

// A marker is the part of a message's content by which the generator knows the
// message again, wherever in its envelope a server puts the content, and
// whatever it adds: the sign, then publisher and sequence number in
// hexadecimal, eight digits each.
const (
	sign         = "@hb:"
	digits       = 8
	markerLength = len(sign) + 2*digits
)

// appendMarker appends the marker of a message.
func appendMarker(dst []byte, publisher, sequence uint32) []byte {
	dst = append(dst, sign...)
	dst = append(dst, make([]byte, 2*digits)...)
	writeHex(dst[len(dst)-2*digits:], publisher)
	writeHex(dst[len(dst)-digits:], sequence)
	return dst
}

func writeHex(dst []byte, v uint32) {
	for i := digits - 1; i >= 0; i-- {
		dst[i] = "0123456789abcdef"[v&15]
		v >>= 4
	}
}

// A reader finds markers. It looks first where it found the last one, because
// envelopes of one server differ little.
type reader struct{ guess int }

// read returns false if the payload carries no whole marker.
func (r *reader) read(payload []byte) (publisher, sequence uint32, ok bool) {
	at := r.guess
	if at+markerLength > len(payload) || string(payload[at:at+len(sign)]) != sign {
		if at = bytes.Index(payload, []byte(sign)); at < 0 || at+markerLength > len(payload) {
			return 0, 0, false
		}
		r.guess = at
	}
	at += len(sign)
	publisher, first := readHex(payload[at : at+digits])
	sequence, second := readHex(payload[at+digits : at+2*digits])
	return publisher, sequence, first && second
}

// values of the lower-case hexadecimal digits, 16 for all else.
var values = func() (table [256]byte) {
	for i := range table {
		table[i] = 16
	}
	for v, digit := range []byte("0123456789abcdef") {
		table[digit] = byte(v)
	}
	return table
}()

func readHex(b []byte) (v uint32, ok bool) {
	var all byte
	for _, digit := range b {
		value := values[digit]
		all |= value
		v = v<<4 | uint32(value&15)
	}
	return v, all < 16
}
