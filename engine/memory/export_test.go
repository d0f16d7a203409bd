package memory

// Size is what the network counts towards Options.Bytes.
func Size(e *Engine) int {
	e.net.mu.Lock()
	defer e.net.mu.Unlock()
	return e.net.size
}

// Sweeps reports whether something is to be swept.
func Sweeps(e *Engine) bool {
	e.net.mu.Lock()
	defer e.net.mu.Unlock()
	return e.net.sweep != nil
}
