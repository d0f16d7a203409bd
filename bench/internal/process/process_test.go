//go:build linux

package process

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

func TestCPU(t *testing.T) {
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < 20*time.Millisecond; {
	}
	after, err := CPU(os.Getpid())
	if used := after - before; err != nil || used <= 0 || used > 10*time.Second {
		t.Fatalf("20 ms of work took %v of CPU, error %v", used, err)
	}
}

func TestResident(t *testing.T) {
	before, err := Resident(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 32<<20)
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
	after, err := Resident(os.Getpid())
	if err != nil || after-before < 30<<20 || block[4096] != 1 {
		t.Fatalf("32 MiB raised the resident set from %d to %d, error %v", before, after, err)
	}
}

func TestCPUs(t *testing.T) {
	if list, err := CPUs(); err != nil || len(list) == 0 {
		t.Fatalf("%v, %v", list, err)
	}
}

func TestServerThatEndsEarly(t *testing.T) {
	_, err := StartServer(context.Background(), "127.0.0.1:1", []string{"sh", "-c", "echo no luck; exit 3"})
	if err == nil || !strings.Contains(err.Error(), "no luck") {
		t.Fatalf("error %v", err)
	}
}

func TestServerStops(t *testing.T) {
	s, err := StartServer(context.Background(), "127.0.0.1:1", []string{"sh", "-c", "echo on 127.0.0.1:1 now; exec sleep 60"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Fault(); err != nil {
		t.Fatal(err)
	}
	if s.Stop(); s.Fault() == nil {
		t.Fatal("still there after Stop")
	}
}
