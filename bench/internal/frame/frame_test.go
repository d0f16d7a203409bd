package frame

import (
	"bytes"
	"errors"
	"testing"
)

var key = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// Lengths on both sides of each change of the length encoding.
var lengths = []int{0, 1, 7, 8, 9, 125, 126, 127, 65535, 65536, 70000}

func TestRoundTrip(t *testing.T) {
	for _, n := range lengths {
		payload := bytes.Repeat([]byte("héllo"), n/6+1)[:n]
		wire := AppendMasked(nil, Text, payload, key)
		f, size, err := Parse(wire)
		if err != nil || size != len(wire) || !f.Final || f.Opcode != Text || !f.Masked || f.Key != key {
			t.Fatalf("length %d: parsed %+v, size %d of %d, error %v", n, f, size, len(wire), err)
		}
		Mask(f.Payload, f.Key)
		if !bytes.Equal(f.Payload, payload) {
			t.Fatalf("length %d: payload changed", n)
		}
		wire = append(AppendHeader(nil, Binary, n), payload...)
		f, size, err = Parse(wire)
		if err != nil || size != len(wire) || f.Masked || f.Opcode != Binary || !bytes.Equal(f.Payload, payload) {
			t.Fatalf("length %d unmasked: parsed %+v, size %d, error %v", n, f, size, err)
		}
	}
}

// The example of RFC 6455, section 5.7.
func TestMaskedHello(t *testing.T) {
	want := []byte{0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}
	if got := AppendMasked(nil, Text, []byte("Hello"), key); !bytes.Equal(got, want) {
		t.Fatalf("got % x, want % x", got, want)
	}
}

// No beginning of a frame may be taken for a frame or for an error.
func TestPartialFrames(t *testing.T) {
	for _, n := range []int{3, 200, 66000} {
		wire := AppendMasked(nil, Text, make([]byte, n), key)
		for cut := 0; cut < len(wire); cut += 1 + cut/50 {
			if _, size, err := Parse(wire[:cut]); size != 0 || err != nil {
				t.Fatalf("%d of %d bytes: size %d, error %v", cut, len(wire), size, err)
			}
		}
	}
}

func TestTwoFramesInOneBuffer(t *testing.T) {
	wire := append(AppendHeader(nil, Text, 3), "one"...)
	wire = append(AppendHeader(wire, Ping, 3), "two"...)
	f, size, err := Parse(wire)
	if err != nil || string(f.Payload) != "one" {
		t.Fatalf("first: %q, %v", f.Payload, err)
	}
	f, rest, err := Parse(wire[size:])
	if err != nil || string(f.Payload) != "two" || f.Opcode != Ping || size+rest != len(wire) {
		t.Fatalf("second: %q, opcode %d, %v", f.Payload, f.Opcode, err)
	}
}

func TestBrokenFrames(t *testing.T) {
	for name, c := range map[string]struct {
		wire []byte
		want error
	}{
		"reserved bit":    {[]byte{0xC1, 0}, ErrReserved},
		"fragmented ping": {[]byte{0x09, 0}, ErrControl},
		"long close":      {[]byte{0x88, 126, 0, 200}, ErrControl},
		"huge":            {[]byte{0x81, 127, 0, 0, 0, 1, 0, 0, 0, 0}, ErrLength},
		"negative":        {[]byte{0x81, 127, 255, 255, 255, 255, 255, 255, 255, 255}, ErrLength},
	} {
		if _, _, err := Parse(c.wire); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(AppendMasked(nil, Text, []byte("seed"), key))
	f.Add(AppendHeader(nil, Text, 70000))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, size, err := Parse(b)
		if size < 0 || size > len(b) || (err != nil && size != 0) || len(got.Payload) > size {
			t.Fatalf("size %d of %d, payload %d, error %v", size, len(b), len(got.Payload), err)
		}
	})
}
