package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The proxies run with the very files that docs/deploy offers; only addresses
// are filled in, and what keeps the program inside the test's own directory is
// put around them.
var proxies = []struct {
	name  string
	start func(t *testing.T, backend string) string
}{
	{"nginx", func(t *testing.T, backend string) string { return startNginx(t, backend) }},
	{"HAProxy", func(t *testing.T, backend string) string { return startHAProxy(t, backend) }},
	{"Caddy", startCaddy},
}

func TestBehindProxy(t *testing.T) {
	for _, proxy := range proxies {
		t.Run(proxy.name, func(t *testing.T) {
			_, backend := startRelay(t)
			conversation(t, proxy.start(t, backend))
		})
	}
}

// TestHeartbeat keeps a silent connection open through a proxy that cuts what is
// silent, as docs/deploy.md says, and nothing else does.
func TestHeartbeat(t *testing.T) {
	for _, tt := range []struct {
		name  string
		start func(t *testing.T, backend string) string
	}{
		{"nginx", func(t *testing.T, backend string) string {
			return startNginx(t, backend, "proxy_read_timeout 75s", "proxy_read_timeout 1s")
		}},
		{"HAProxy", func(t *testing.T, backend string) string {
			return startHAProxy(t, backend, "timeout tunnel 75s", "timeout tunnel 1s")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, addr := startRelay(t, "-heartbeat", "300ms")
			c := connect(t, tt.start(t, addr))
			for range 6 {
				if err := c.pong(); err != nil {
					t.Fatalf("waiting for a ping: %v", err)
				}
			}
			c.alive()

			_, addr = startRelay(t)
			c = connect(t, tt.start(t, addr))
			err := c.pong()
			for err == nil { // there may be one at the beginning
				err = c.pong()
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the proxy does not cut a connection that is silent for 1 s")
			}
		})
	}
}

// pong answers the server's next ping.
func (c *client) pong() error {
	op, payload, err := c.read()
	if err == nil && op != opPing {
		err = fmt.Errorf("a frame with opcode %d and %q", op, payload)
	}
	if err == nil {
		c.frame(fin|opPong, payload)
	}
	return err
}

// TestNginxMistakes shows the answers by which docs/deploy.md tells what is wrong
// with a configuration.
func TestNginxMistakes(t *testing.T) {
	const page = "http://app.example:8080"
	for _, tt := range []struct{ name, right, wrong, code string }{
		{"no Upgrade", "proxy_set_header Upgrade $http_upgrade;", "", "not_websocket"},
		{"host without its port", "Host $http_host", "Host $host", "origin"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, backend := startRelay(t)
			addr := startNginx(t, backend, tt.right, tt.wrong)
			_, res := request(t, addr, handshake(addr, map[string]string{"Host": "app.example:8080", "Origin": page}))
			body, err := io.ReadAll(res.Body)
			if err != nil || !strings.Contains(string(body), `"code":"`+tt.code+`"`) {
				t.Errorf("%s %q, %v, want the code %s", res.Status, body, err, tt.code)
			}
		})
	}
}

// deployFile returns a file of docs/deploy with each of the old strings, which
// must be there once, replaced by the new one that follows it.
func deployFile(t *testing.T, name string, oldnew ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for i := 0; i < len(oldnew); i += 2 {
		if strings.Count(text, oldnew[i]) != 1 {
			t.Fatalf("docs/deploy/%s has %q %d times, want once", name, oldnew[i], strings.Count(text, oldnew[i]))
		}
		text = strings.Replace(text, oldnew[i], oldnew[i+1], 1)
	}
	return text
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func startNginx(t *testing.T, backend string, oldnew ...string) string {
	nginx := lookup(t, "nginx")
	dir, addr := t.TempDir(), freePort(t)
	oldnew = append([]string{"listen 80;", "listen " + addr + ";", "127.0.0.1:8080", backend}, oldnew...)
	writeFile(t, filepath.Join(dir, "hubbub.conf"), deployFile(t, "nginx.conf", oldnew...))
	writeFile(t, filepath.Join(dir, "nginx.conf"), `
daemon off;
master_process off;
pid nginx.pid;
events {}
http {
	access_log off;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	include hubbub.conf;
}
`)
	p := start(t, nginx, "-p", dir, "-c", "nginx.conf", "-e", "stderr")
	p.reachable(t, addr)
	return addr
}

func startHAProxy(t *testing.T, backend string, oldnew ...string) string {
	haproxy := lookup(t, "haproxy")
	addr, file := freePort(t), filepath.Join(t.TempDir(), "haproxy.cfg")
	oldnew = append([]string{"bind :80", "bind " + addr, "127.0.0.1:8080", backend}, oldnew...)
	writeFile(t, file, deployFile(t, "haproxy.cfg", oldnew...))
	p := start(t, haproxy, "-db", "-f", file)
	p.reachable(t, addr)
	return addr
}

func startCaddy(t *testing.T, backend string) string {
	caddy := lookup(t, "caddy")
	dir, addr := t.TempDir(), freePort(t)
	file := filepath.Join(dir, "Caddyfile")
	writeFile(t, file, "{\n\tadmin off\n\tdefault_bind 127.0.0.1\n}\n\n"+
		deployFile(t, "Caddyfile", "example.org", strings.TrimPrefix(addr, "127.0.0.1"), "127.0.0.1:8080", backend))
	home := []string{"HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "XDG_DATA_HOME=" + dir} // where it keeps its state
	p := start(t, "/usr/bin/env", append(home, caddy, "run", "--adapter", "caddyfile", "--config", file)...)
	p.reachable(t, addr)
	return addr
}
