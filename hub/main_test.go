package hub_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(&program{m}) }

// program disconnects the visitors of the examples, which would only distract
// there, before anybody looks for what is left.
type program struct{ *testing.M }

func (p *program) Run() int {
	code := p.M.Run()
	for _, conn := range visitors {
		conn.Abort()
	}
	return code
}
