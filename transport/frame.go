package transport

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/hubbub-go/hubbub/message"
)

// First bytes of RFC 6455 frames: FIN and the opcode.
const (
	text   = 0x81
	binry  = 0x82
	rsv1   = 0x40 // compressed, RFC 7692
	maxWhy = 123  // bytes of a close reason
)

var pingFrame = []byte{0x89, 0}

// header returns the header of an unmasked frame with n bytes of payload.
func header(buf *[10]byte, first byte, n int) []byte {
	buf[0] = first
	switch {
	case n < 126:
		buf[1] = byte(n)
		return buf[:2]
	case n < 1<<16:
		buf[1] = 126
		binary.BigEndian.PutUint16(buf[2:], uint16(n))
		return buf[:4]
	}
	buf[1] = 127
	binary.BigEndian.PutUint64(buf[2:], uint64(n))
	return buf[:10]
}

func opcode(f *message.Frame) byte {
	if f.Binary() {
		return binry
	}
	return text
}

// plain is the message.WebSocket variant: it costs no copy.
func plain(f *message.Frame) []byte {
	var buf [10]byte
	return f.Prefixed(header(&buf, opcode(f), len(f.Payload())))
}

var flaters = sync.Pool{New: func() any {
	w, _ := flate.NewWriter(io.Discard, flate.BestSpeed) // the level is valid
	return w
}}

// deflated is the message.WebSocketDeflated variant, compressed once for all
// receivers: none of them may keep a window over messages (RFC 7692 §7.1.1).
func deflated(f *message.Frame) []byte {
	var z bytes.Buffer
	z.Grow(len(f.Payload())/2 + 16)
	w := flaters.Get().(*flate.Writer)
	w.Reset(&z)
	_, _ = w.Write(f.Payload()) // a bytes.Buffer takes everything
	_ = w.Flush()
	flaters.Put(w)
	data := z.Bytes()[:z.Len()-4] // 00 00 ff ff is implied, RFC 7692 §7.2.1
	var buf [10]byte
	return append(bytes.Clone(header(&buf, opcode(f)|rsv1, len(data))), data...)
}

// fit makes a close reason valid UTF-8 and cuts it at a rune so that it fits.
func fit(reason string) string {
	reason = strings.ToValidUTF8(reason, "\uFFFD")
	if len(reason) <= maxWhy {
		return reason
	}
	n := maxWhy
	for !utf8.RuneStart(reason[n]) {
		n--
	}
	return reason[:n]
}

// noCode stands for a close frame that has no code, RFC 6455 §7.4.1.
const noCode = 1005

// sendable returns code, or 1011 if it may not stand in a close frame, RFC 6455
// §7.4.
func sendable(code int) int {
	switch {
	case code >= 1000 && code <= 1014 && (code < 1004 || code > 1006), code >= 3000 && code <= 4999:
		return code
	}
	return message.CloseInternal
}

// closeFrame returns a close frame; the reason fits.
func closeFrame(code int, reason string) []byte {
	if code == noCode {
		return []byte{0x88, 0}
	}
	b := append(make([]byte, 0, 4+len(reason)), 0x88, byte(2+len(reason)), byte(code>>8), byte(code))
	return append(b, reason...)
}
