//go:build race

package transport_test

// slack is what the race detector adds to each operation: it makes a sync.Pool
// forget things.
const slack = 5
