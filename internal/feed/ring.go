package feed

import (
	"sort"

	"github.com/hubbub-go/hubbub/engine"
)

// ring is a run of entries, oldest first, bounded in number and bytes.
type ring struct {
	entries []engine.Entry
	bytes   int
}

// What may wait while a feed reads.
const (
	mostWaiting      = 1024
	mostWaitingBytes = 1 << 20
)

// entryBytes is what an entry takes beside its data.
const entryBytes = 80

// add adds e unless that passes a bound.
func (r *ring) add(e engine.Entry, most, bytes int) bool {
	if len(r.entries) >= most || r.bytes+entryBytes+len(e.Data) > bytes {
		return false
	}
	r.entries = append(r.entries, e)
	r.bytes += entryBytes + len(e.Data)
	return true
}

// push adds e and drops the oldest beyond the bounds.
func (r *ring) push(e engine.Entry, most, bytes int) {
	r.entries = append(r.entries, e)
	r.bytes += entryBytes + len(e.Data)
	n := 0
	for len(r.entries)-n > most || len(r.entries) > n && r.bytes > bytes {
		r.bytes -= entryBytes + len(r.entries[n].Data)
		r.entries[n] = engine.Entry{}
		n++
	}
	r.entries = r.entries[n:]
}

// index returns the first entry whose offset is not below offset.
func (r *ring) index(offset uint64) int {
	return sort.Search(len(r.entries), func(i int) bool { return r.entries[i].Offset >= offset })
}

// find returns the entry at offset, or nil.
func (r *ring) find(offset uint64) *engine.Entry {
	if i := r.index(offset); i < len(r.entries) && r.entries[i].Offset == offset {
		return &r.entries[i]
	}
	return nil
}

// has reports whether the entry at p is there.
func (r *ring) has(p engine.Position) bool {
	e := r.find(p.Offset)
	return e != nil && e.Position == p
}

// after returns the entries after p, if what follows p directly is there.
func (r *ring) after(p engine.Position) ([]engine.Entry, bool) {
	i := r.index(p.Offset)
	if i < len(r.entries) && r.entries[i].Position == p {
		return r.entries[i+1:], true
	}
	return nil, false
}
