package transport_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

// held is a ResponseWriter for a connection in memory.
type held struct {
	header http.Header
	conn   net.Conn
}

func (h *held) Header() http.Header         { return h.header }
func (h *held) WriteHeader(int)             {}
func (h *held) Write(p []byte) (int, error) { return len(p), nil }

func (h *held) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// inMemory connects without a network: behind a good handshake the client's end
// is what it has to say.
func inMemory(t testing.TB, opts *transport.WebSocketOptions) (conn transport.Conn, client net.Conn) {
	t.Helper()
	server, client := net.Pipe()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {key},
		"Sec-Websocket-Extensions": {"permessage-deflate"},
	}
	transport.WebSocket(opts).Serve(&held{http.Header{}, server}, r, func(*http.Request) (func(transport.Conn), error) {
		return func(c transport.Conn) { conn = c }, nil
	})
	if conn == nil {
		t.Fatal("no connection")
	}
	return conn, client
}

// FuzzFrames: whatever a client sends, nothing panics, no message is longer than
// the limit or text that is none, and Read ends when the client does.
func FuzzFrames(f *testing.F) {
	for _, tt := range slices.Concat(lengths(), masks(), bits(), fragments(), controls(), encodings(), closes()) {
		f.Add([]byte(tt.send), false)
	}
	text := string(note{n: 1, size: 1000}.frame(f).Payload())
	f.Add([]byte(wire{first: fin | rsv1 | opText, payload: deflate(text)}.String()), true)
	f.Add([]byte(strings.Join(split(rsv1|opText, deflate(text), 7, 20), control(opPing, "p"))), true)
	f.Add([]byte(wire{first: fin | rsv1 | opBinary, payload: deflate(strings.Repeat("0", 1<<20))}.String()), true)
	const limit = 1000
	f.Fuzz(func(t *testing.T, data []byte, compress bool) {
		conn, client := inMemory(t, &transport.WebSocketOptions{Limit: limit, Compress: compress, CompressFrom: 1, Log: quiet})
		go func() { _, _ = io.Copy(io.Discard, client) }()
		go func() {
			_ = client.SetWriteDeadline(time.Now().Add(patience))
			_, _ = client.Write(data)
			_ = client.Close()
		}()
		end := make(chan error, 1)
		go func() { end <- echo(conn, limit) }()
		if err := await(t, "the end of Read", end); err != nil {
			t.Fatal(err)
		}
	})
}

// echo answers each message with another one, until the connection ends.
func echo(conn transport.Conn, limit int) error {
	for {
		m, end := conn.Read()
		if broken, ok := errors.AsType[*transport.Violation](end); ok {
			conn.Close(broken.Code, broken.Reason)
			continue
		}
		switch {
		case m == nil:
			return nil
		case len(m.Data) > limit:
			return errors.New("a message of " + strconv.Itoa(len(m.Data)) + " bytes")
		case !m.Binary && strings.ToValidUTF8(string(m.Data), "") != string(m.Data):
			return errors.New("text that is no UTF-8: " + strconv.Quote(string(m.Data)))
		}
		f, err := message.Encode(message.New("echo", message.Raw{Data: m.Data, Binary: true}), nil, message.Disconnect)
		m.Release()
		if err != nil {
			return err
		}
		_ = conn.Write(f)
	}
}

// FuzzRoundTrip: what we frame, the library's client reads, and the other way
// round, compressed or not.
func FuzzRoundTrip(f *testing.F) {
	for _, n := range []int{0, 1, 100, 125, 126, 127, 511, 512, 4095, 4096, 60000, 65535, 65536, 70000} {
		f.Add(slices.Repeat([]byte("x"), n), n%2 == 0)
	}
	f.Add([]byte("κόσμε \xff\x00\""), true)
	opts := transport.WebSocketOptions{Limit: 1 << 20, Pending: 8 << 20, Compress: true}
	s := serve(f, plain, &opts)
	type link struct {
		*peer
		client *websocket.Conn
	}
	var links []link
	for _, mode := range []websocket.CompressionMode{websocket.CompressionDisabled, websocket.CompressionNoContextTakeover} {
		c := s.library(f, websocket.DialOptions{CompressionMode: mode})
		links = append(links, link{await(f, "the connection", s.peers), c})
	}
	f.Fuzz(func(t *testing.T, content []byte, binary bool) {
		raw := message.Raw{Data: content, Binary: binary}
		kind := websocket.MessageBinary
		if !binary {
			quoted, _ := message.JSON.Marshal(strings.ToValidUTF8(string(content), "?"))
			raw.Data, kind = quoted, websocket.MessageText
		}
		frame, err := message.Encode(message.New("t", raw), nil, message.Disconnect)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			l.write(t, frame)
			got, data, err := l.client.Read(t.Context())
			if err != nil || got != kind || string(data) != string(frame.Payload()) {
				t.Fatalf("the client got %v of %d bytes, %v; want %v of %d", got, len(data), err, kind, len(frame.Payload()))
			}
			if err := l.client.Write(t.Context(), kind, data); err != nil {
				t.Fatal(err)
			}
			if e := l.next(t); e.err != nil || e.data != string(data) || e.binary != binary {
				t.Fatalf("the server got %d bytes, binary %v, %v; want %d, %v", len(e.data), e.binary, e.err, len(data), binary)
			}
		}
	})
}
