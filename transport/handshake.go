package transport

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Subprotocol is the one dialect spoken. A client that names none gets it too.
const Subprotocol = "hubbub.v1"

func bad(status int, code, format string, args ...any) *Refusal {
	return &Refusal{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// checkUpgrade verifies the form of an opening handshake, RFC 6455 §4.2.1. The
// library below would answer the same in plain text, and would wait for a body
// that never comes.
func checkUpgrade(r *http.Request) *Refusal {
	const protocol = "Sec-Websocket-Protocol" // names in canonical form are found without a copy
	switch {
	case r.Method != http.MethodGet || !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket"):
		return bad(400, "not_websocket", "this address speaks WebSocket: open it with new WebSocket(url) or a WebSocket client. "+
			"Behind a proxy, let it pass the Connection and Upgrade headers on")
	case r.ProtoMajor != 1 || r.ProtoMinor < 1:
		return bad(400, "http_version", "a WebSocket handshake needs HTTP/1.1, not %s", r.Proto)
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		return bad(400, "body", "a WebSocket handshake has no body")
	case r.Header.Get("Sec-Websocket-Version") != "13":
		return bad(426, "websocket_version", "the WebSocket version %q is not supported, only 13 is", r.Header.Get("Sec-Websocket-Version"))
	}
	keys := r.Header.Values("Sec-Websocket-Key")
	if len(keys) != 1 {
		return bad(400, "websocket_key", "a handshake has one Sec-WebSocket-Key, this one has %d", len(keys))
	}
	var key [18]byte // the padding's two, too
	if text := strings.TrimSpace(keys[0]); len(text) != 24 || decoded(key[:], text) != 16 {
		return bad(400, "websocket_key", "Sec-WebSocket-Key is not 16 bytes in base64")
	}
	if hasTokens(r.Header, protocol) && !hasToken(r.Header, protocol, Subprotocol) {
		return bad(400, "subprotocol", "the subprotocol spoken here is %s", Subprotocol)
	}
	return nil
}

// decoded decodes base64 and returns how many bytes that gave; -1: it is none.
func decoded(into []byte, text string) int {
	n, err := base64.StdEncoding.Decode(into, []byte(text))
	if err != nil {
		return -1
	}
	return n
}

// hijackable finds out, before anything is written, whether the connection can
// be taken over, and names the wrapper that prevents it. A wrapper that has both
// methods may have Hijack for all cases, and pass it on to one that has not.
func hijackable(w http.ResponseWriter) *Refusal {
	w = innermost(w)
	if _, ok := w.(http.Hijacker); ok {
		return nil
	}
	return noHijacker(w, "which hides http.Hijacker")
}

// innermost is what is inside all wrappers that show it.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		v, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = v.Unwrap()
	}
}

// hijackFails is what noHijacker says of who has Hijack and cannot.
const hijackFails = "whose Hijack fails"

func noHijacker(w http.ResponseWriter, why string) *Refusal {
	return bad(501, "no_hijacker", "the http.ResponseWriter is a %T, %s: "+
		"mount the hub outside the middleware that wraps it, or give the wrapper an Unwrap method", w, why)
}

// origins decides which pages may connect.
type origins struct {
	allowed []string // "host", "host:port", "*.host", each with or without "scheme://"
	any     bool
}

// check compares whole host labels, never patterns of characters: "*example.com"
// must not admit evilexample.com. A request without Origin comes from no page.
func (o *origins) check(r *http.Request) *Refusal {
	values := r.Header.Values("Origin")
	if o.any || len(values) == 0 {
		return nil
	}
	if len(values) > 1 {
		return bad(403, "origin", "a request has one Origin, this one has %d: does a proxy add one?", len(values))
	}
	origin := values[0]
	u, err := url.Parse(origin)
	if err == nil && u.Host != "" && u.Path == "" && u.User == nil {
		if strings.EqualFold(withoutDefault(u.Scheme, u.Host), withoutDefault(u.Scheme, r.Host)) || development(r, u) {
			return nil
		}
		for _, a := range o.allowed {
			if matchOrigin(a, u) {
				return nil
			}
		}
	}
	return bad(403, "origin", "the Origin %.200q is not the Host %.200q and not allowed: allow it with WebSocketOptions.Origins; "+
		"behind a proxy, pass the Host on with its port", origin, r.Host)
}

// development reports whether page and server are both of this machine, as with
// a development server on a port of its own.
func development(r *http.Request, origin *url.URL) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok || !loopback(local.String()) {
		return false
	}
	return loopback(r.Host) && loopback(origin.Host)
}

func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// checkOrigin panics for an entry of WebSocketOptions.Origins that no Origin can match.
func checkOrigin(entry string) {
	scheme, host, ok := strings.Cut(entry, "://")
	if !ok {
		scheme, host = "https", entry
	}
	name := strings.TrimPrefix(host, "*.")
	u, err := url.Parse(scheme + "://" + name)
	ascii := strings.IndexFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 // browsers send xn--…
	switch {
	case net.ParseIP(name) != nil: // of IPv6, without its brackets
	case err != nil || u.Host != name || name == "" || strings.Contains(name, "*") || !ascii:
		panic(fmt.Sprintf("transport: the Origin %q can match no page: it is a host, as example.com, *.example.com, "+
			"example.com:8443 or https://example.com, in ASCII and with nothing behind it", entry))
	}
}

// matchOrigin reports whether one entry of WebSocketOptions.Origins admits u.
func matchOrigin(entry string, u *url.URL) bool {
	if scheme, host, ok := strings.Cut(entry, "://"); ok {
		if !strings.EqualFold(scheme, u.Scheme) {
			return false
		}
		entry = host
	}
	host := u.Host
	entry = withoutDefault(u.Scheme, entry)
	if _, _, err := net.SplitHostPort(entry); err != nil { // no port asked for: the scheme's own
		if port := u.Port(); port != "" && !defaultPort(u.Scheme, port) {
			return false
		}
		host = u.Hostname()
		entry = strings.Trim(entry, "[]")
	}
	if domain, ok := strings.CutPrefix(entry, "*."); ok {
		sub, ok := cutSuffixFold(host, "."+domain)
		return ok && sub != ""
	}
	return strings.EqualFold(host, entry)
}

// withoutDefault leaves the port out where it is the scheme's own: browsers do, and
// proxies may not.
func withoutDefault(scheme, hostport string) string {
	if _, port, err := net.SplitHostPort(hostport); err == nil && defaultPort(scheme, port) {
		return strings.TrimSuffix(hostport, ":"+port)
	}
	return hostport
}

func defaultPort(scheme, port string) bool {
	return scheme == "http" && port == "80" || scheme == "https" && port == "443"
}

func cutSuffixFold(s, suffix string) (string, bool) {
	if n := len(s) - len(suffix); n >= 0 && strings.EqualFold(s[n:], suffix) {
		return s[:n], true
	}
	return s, false
}

// hasToken reports whether a header, whose name is in canonical form, has a token.
func hasToken(h http.Header, name, want string) bool {
	for _, rest := range h[name] {
		for more := true; more; {
			var token string
			token, rest, more = strings.Cut(rest, ",")
			if strings.EqualFold(strings.TrimSpace(token), want) {
				return true
			}
		}
	}
	return false
}

// hasTokens reports whether a header has any token at all.
func hasTokens(h http.Header, name string) bool {
	for _, v := range h[name] {
		if strings.Trim(v, ", \t") != "" {
			return true
		}
	}
	return false
}
