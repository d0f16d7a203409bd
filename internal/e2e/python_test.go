package e2e

import (
	"context"
	"os/exec"
	"testing"
)

// TestPython is a client that somebody else wrote: Debian's python3-websockets,
// which asks for compression and checks what it gets.
func TestPython(t *testing.T) {
	const python = "/usr/bin/python3"
	need(t, "python3-websockets", exec.Command(python, "-c", "import websockets").Run() == nil)
	run := func(t *testing.T, addr string) {
		ctx, cancel := context.WithTimeout(t.Context(), 6*patience)
		defer cancel()
		out, err := exec.CommandContext(ctx, python, "testdata/client.py", "ws://"+addr+"/ws").CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	_, addr := startRelay(t)
	t.Run("direct", func(t *testing.T) { run(t, addr) })
	for _, proxy := range proxies {
		t.Run(proxy.name, func(t *testing.T) { run(t, proxy.start(t, addr)) })
	}
}
