package client

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/hubbub-go/hubbub/message"
)

// Options tune a Client. The zero value is what production needs.
type Options struct {
	// Header is called before every connection and returns what to add to the
	// handshake, as an Authorization that may have to be renewed. ctx ends after
	// Timeout. With Header the client also comes back when the server says that
	// the identity has expired, or is wrong.
	Header func(ctx context.Context) (http.Header, error)
	// HTTPClient makes the handshake; default http.DefaultClient.
	HTTPClient *http.Client
	// Dial makes the connections instead of HTTPClient's transport, wherever the
	// URL points: for tests, sockets of other kinds, tunnels.
	Dial func(ctx context.Context) (net.Conn, error)
	// Lazy makes Dial return at once and connect in the background, for services
	// that may start before their server.
	Lazy bool
	// Codec encodes and decodes content that is JSON; default message.JSON.
	Codec message.Codec
	// Limit is the largest message that is taken, in bytes; default 16 MiB. One
	// over it ends the connection.
	Limit int

	// Timeout, default 10 s, is for the handshake with the welcome; for answers
	// to Join, Leave, Call and Ping, and for a Stream to be sent, where the context
	// has no deadline; and for any sign of life after the client has asked for one.
	Timeout time.Duration
	// TTL is how long Send tries where the context has no deadline; default 30 s.
	TTL time.Duration
	// QueueMessages and QueueBytes bound what has no answer yet, default 256 and
	// 1 MiB; a Stream that was sent does not count. Past that, without a connection
	// there is ErrOverflow; with one, sending waits.
	QueueMessages int
	QueueBytes    int

	// RetryMin and RetryMax, default 4 s and 20 s, bound the random wait before
	// a reconnect: it is between 0 and a bound that begins at RetryMin, doubles
	// each time up to RetryMax, and begins anew after a connection that held for
	// 5 s. What the server asks for comes on top. A shorter RetryMin brings one
	// client back faster, and thousands of them within a shorter time.
	RetryMin, RetryMax time.Duration
	// Seed, for tests, makes the random waits of this client the same ones each
	// time, as testing/synctest does with the time; default 0: others each time.
	// Give each client another one, or all come back at once.
	Seed uint64
	// Retries is how often in a row the client tries to come back before it is
	// closed; default 0: for ever.
	Retries int

	// OnStatus is told every change of Status.
	OnStatus func(Status)
	// OnError is told the errors that nothing else tells: those that the server
	// sent without saying what they answer, messages that could not be decoded, and
	// that handlers are too slow, once until they have caught up by half, see the
	// package's documentation. Default: a warning of slog.Default.
	OnError func(error)
}

const (
	longestWait = time.Hour       // a server's retryAfter is believed up to this
	stable      = 5 * time.Second // a connection that held this long starts the waits anew
)

func (o *Options) setDefaults() {
	setDefault(&o.Limit, 16<<20)
	setDefault(&o.Timeout, 10*time.Second)
	setDefault(&o.TTL, 30*time.Second)
	setDefault(&o.QueueMessages, 256)
	setDefault(&o.QueueBytes, 1<<20)
	setDefault(&o.RetryMin, 4*time.Second)
	setDefault(&o.RetryMax, 20*time.Second)
	if o.Codec == nil {
		o.Codec = message.JSON
	}
	if o.HTTPClient == nil {
		o.HTTPClient = http.DefaultClient
	}
	if o.Dial != nil {
		dial := o.Dial
		client := *o.HTTPClient
		client.Transport = &http.Transport{
			DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
			DisableKeepAlives: true, // a refusal must not leave a connection behind
		}
		o.HTTPClient = &client
	}
	if o.OnStatus == nil {
		o.OnStatus = func(Status) {}
	}
	if o.OnError == nil {
		o.OnError = func(err error) { slog.Default().Warn("hubbub: client", "error", err) }
	}
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// bounded gives ctx a deadline, if it has none.
func bounded(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, most, timeoutError(most))
}

// timeoutError is the cause of a context that got its deadline here.
type timeoutError time.Duration

func (e timeoutError) Error() string        { return "no answer within " + time.Duration(e).String() }
func (e timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }
