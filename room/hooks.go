package room

import "sync"

// hooks call Options.Occupied and Vacated without any lock, for one room one at a
// time and in order: on the goroutine of whoever made the change, or of whoever
// is calling for that room already. So nobody waits for somebody else's call, and
// a hook may join and leave. A room that empties and fills again meanwhile is, for
// the hooks, as it was.
type hooks struct {
	mu    sync.Mutex
	rooms map[string]*occupancy
}

// occupancy is whether there is somebody in a room, and what the hooks know.
type occupancy struct{ is, told, calling bool }

func (m *Manager) hooked() bool { return m.opts.Occupied != nil || m.opts.Vacated != nil }

// note remembers what the hooks have to know. The room's lock is held.
func (m *Manager) note(name string, occupied bool) {
	if !m.hooked() {
		return
	}
	h := &m.hooks
	h.mu.Lock()
	defer h.mu.Unlock()
	o := h.rooms[name]
	if o == nil {
		o = &occupancy{}
		if h.rooms == nil {
			h.rooms = map[string]*occupancy{}
		}
		h.rooms[name] = o
	}
	o.is = occupied
}

// tell calls the hooks of a room. No lock is held.
func (m *Manager) tell(name string) {
	if !m.hooked() {
		return
	}
	for o := m.hooks.next(name); o != nil; o = m.hooks.next(name) {
		m.call(name, o)
	}
}

// next returns the occupancy of a room if a hook is to be called; the caller is
// then the one to do it.
func (h *hooks) next(name string) *occupancy {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := h.rooms[name]
	if o == nil || o.calling {
		return nil
	}
	if o.is == o.told {
		if !o.is { // it was somebody who has gone already
			delete(h.rooms, name)
		}
		return nil
	}
	o.calling, o.told = true, o.is
	return o
}

// call calls one hook. If that panics, the rest is left to the next change.
func (m *Manager) call(name string, o *occupancy) {
	hook := m.opts.Vacated
	if o.told {
		hook = m.opts.Occupied
	}
	defer m.hooks.done(name, o)
	if hook != nil {
		hook(name)
	}
}

func (h *hooks) done(name string, o *occupancy) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if o.calling = false; !o.is && !o.told {
		delete(h.rooms, name)
	}
}
