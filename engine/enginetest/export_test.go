package enginetest

import "testing"

// Names are those of all checks.
func Names() []string {
	names := make([]string, len(checks))
	for i, c := range checks {
		names[i] = c.name
	}
	return names
}

// Run runs one check as Test would.
func Run(t testing.TB, opts Options, name string) {
	for _, c := range checks {
		if c.name == name {
			c.run(newWorld(t, opts))
		}
	}
}
