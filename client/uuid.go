package client

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// newID makes a UUID of version 7: it carries the time, to a fraction of a
// millisecond, and 62 random bits.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[8:]) // never fails
	now := time.Now().UnixNano()
	ms, fraction := now/1e6, now%1e6*4096/1e6
	binary.BigEndian.PutUint64(b[:], uint64(ms)<<16|0x7000|uint64(fraction))
	b[8] = b[8]&0x3f | 0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
