//go:build !race

package proof_test

const race = false
