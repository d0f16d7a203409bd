package hubtest

import (
	"context"
	"net"
	"testing"
	"time"
)

// Proxy is a TCP proxy on 127.0.0.1 whose network fails when the test wants it
// to, in front of a server of any kind. Clients of any kind, in other processes
// too, connect to its Addr. Time is real: what only Go programs take part in is
// tested faster on a Network.
//
// Stalls and the like show later than on a Network, as the system's sockets take
// megabytes before a writer has to wait.
type Proxy struct {
	Faults

	server   string
	listener net.Listener
}

// NewProxy starts a proxy in front of server, as "127.0.0.1:8080", which need
// not be there yet. It ends with the test. Where the test has failed, the faults
// are logged.
func NewProxy(t testing.TB, server string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("hubtest: NewProxy: %v", err)
	}
	p := &Proxy{server: server, listener: l}
	p.init(t)
	p.running.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.end()
	})
	return p
}

// Addr returns the address of the proxy, as "127.0.0.1:40001".
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

func (p *Proxy) accept() {
	// Not until the context ends: a dialer that gives up a connection which the
	// server has accepted already closes it in good order, and a cut is none.
	dial := func(context.Context) (stream, error) {
		c, err := net.DialTimeout("tcp", p.server, 5*time.Second)
		if err != nil {
			return nil, err
		}
		return c.(*net.TCPConn), nil
	}
	for {
		c, err := p.listener.Accept()
		switch {
		case err != nil:
			return
		case p.refuses():
			reset(c)
		default:
			p.open(c.(*net.TCPConn), dial)
		}
	}
}
