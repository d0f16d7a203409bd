//go:build !race

package transport_test

const slack = 0
