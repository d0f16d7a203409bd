package engine

import (
	"crypto/sha256"
	"encoding/hex"
)

// longestToken leaves room for prefixes in the 255 bytes that most systems take.
const longestToken = 128

const digits = "0123456789ABCDEF"

// Token maps any name to 1 to 128 characters of A-Z, a-z, 0-9, _, - and ~, so
// that it can be one token of a NATS subject, part of a Redis key or hash tag,
// or the name of a file where upper and lower case differ. Different names have
// different tokens: letters, digits, _ and - stay, every other byte becomes ~
// and two digits, the empty name is ~0, and what would be longer than 128
// becomes ~z and its SHA-256.
func Token(name string) string {
	size := 0
	for i := range len(name) {
		if plain(name[i]) {
			size++
		} else {
			size += 3
		}
	}
	switch {
	case size == 0:
		return "~0" // an escape has two digits
	case size > longestToken:
		sum := sha256.Sum256([]byte(name))
		return "~z" + hex.EncodeToString(sum[:]) // z is no digit
	case size == len(name):
		return name
	}
	b := make([]byte, 0, size)
	for i := range len(name) {
		if c := name[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '~', digits[c>>4], digits[c&15])
		}
	}
	return string(b)
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}
