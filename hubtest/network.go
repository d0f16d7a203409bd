package hubtest

import (
	"context"
	"net"
	"sync"
	"testing"
)

// Network is a network in memory, with one address where a server listens. It
// works inside testing/synctest, where a minute without a network takes no time,
// and everything else too: net/http, a hub, and any client that lets the test
// dial.
//
//	n := hubtest.NewNetwork(t)
//	go http.Serve(n.Listener(), h)
//	client := &http.Client{Transport: &http.Transport{DialContext: n.DialContext}}
//	ws, _, err := websocket.Dial(ctx, "ws://hub/", &websocket.DialOptions{HTTPClient: client})
//	n.Cut()
//
// A server may listen on several networks: give a client one of its own where
// the others are to notice nothing. The methods are safe for concurrent use.
type Network struct {
	Faults

	mu       sync.Mutex
	listener *memListener // nil: nobody has listened yet
	dialed   int
}

// NewNetwork returns a network without faults. Its connections and listeners are
// closed when the test ends. Where the test has failed, the faults are logged.
func NewNetwork(t testing.TB) *Network {
	n := &Network{}
	n.init(t)
	t.Cleanup(func() {
		n.mu.Lock()
		l := n.listener
		n.mu.Unlock()
		if l != nil {
			_ = l.Close()
		}
		n.end()
	})
	return n
}

// backlog is how many connections wait for being accepted.
const backlog = 128

var serverAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}

// Listener returns what a server accepts the connections of the network with. It
// is the same one until it is closed, and a new one then, for the server that
// takes over. In between, dialing is refused.
func (n *Network) Listener() net.Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listener == nil || n.listener.over() {
		n.listener = &memListener{conns: make(chan *memConn, backlog), closed: make(chan struct{})}
	}
	return n.listener
}

// DialContext connects to the server, whatever network and address are, so it
// fits into http.Transport and the like. The error, where nobody listens or the
// network refuses, is ECONNREFUSED.
func (n *Network) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listener
	n.dialed++
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1024 + n.dialed%60000}
	n.mu.Unlock()
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: serverAddr, Err: errRefused}
	if l == nil || l.over() || n.refuses() {
		return nil, refused
	}
	client, near := memPair(addr, serverAddr)
	far, server := memPair(addr, serverAddr)
	if !n.open(near, func(context.Context) (stream, error) { return far, nil }) {
		return nil, refused
	}
	err := refused
	select {
	case l.conns <- server:
		if !l.over() {
			return client, nil
		}
		_ = l.Close() // has perhaps cut those who wait before there was this one
	case <-l.closed:
	case <-ctx.Done():
		err = &net.OpError{Op: "dial", Net: "tcp", Addr: serverAddr, Err: ctx.Err()}
	}
	client.reset()
	server.reset()
	return nil, err
}

type memListener struct {
	conns  chan *memConn
	once   sync.Once
	closed chan struct{}
}

// Accept implements net.Listener.
func (l *memListener) Accept() (net.Conn, error) {
	if !l.over() {
		select {
		case c := <-l.conns:
			return c, nil
		case <-l.closed:
		}
	}
	return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: serverAddr, Err: net.ErrClosed}
}

// Close implements net.Listener. Who waits for being accepted is cut.
func (l *memListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	for {
		select {
		case c := <-l.conns:
			c.reset()
		default:
			return nil
		}
	}
}

func (l *memListener) over() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// Addr implements net.Listener.
func (l *memListener) Addr() net.Addr { return serverAddr }
