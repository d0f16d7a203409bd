// Package proof_test proves what the parts promise together: the Go client, the
// hub and its rooms, over networks and servers that fail on purpose, in virtual
// time. internal/e2e does the like with programs and sockets.
package proof_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
