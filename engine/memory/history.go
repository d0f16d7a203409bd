package memory

import (
	"time"

	"github.com/hubbub-go/hubbub/engine"
)

// history is the log of one room. Offsets are dense, so entries need neither
// offset nor Prev, and what is missing in front of them is always known.
type history struct {
	class  *class
	epoch  uint64
	offset uint64 // of the newest entry ever
	head   uint32 // the tag of that
	before uint32 // the tag of the entry before the first that is kept

	kept  []kept
	first int // index in kept of the first that is; those before are zero
	bytes int // what the entries cost
	keys  keys
	cost  int // what all of it costs

	// Its place on a shelf of its class.
	shelf      shelf
	touched    time.Duration // when it was put there
	prev, next *topic
}

// kept is what stays of an entry: 48 bytes and its data.
type kept struct {
	id   [16]byte
	data []byte
	at   time.Duration
}

// What things cost, a little more than was measured.
const (
	entryCost = 96  // beside its data: itself, room to grow, the allocator's rounding
	keyCost   = 192 // of a dedupe key beside its bytes: in a map and a list
	logCost   = 512 // of a topic with an empty log
)

// held is what of the cost cannot be given up: as long as there are keys, all but
// the entries.
func (h *history) held() int {
	if len(h.keys.order) == 0 {
		return 0
	}
	return h.cost - h.bytes
}

func (h *history) count() int { return len(h.kept) - h.first }

// oldest is the offset of the first entry that is kept, or would be.
func (h *history) oldest() uint64 { return h.offset - uint64(h.count()) + 1 }

func (h *history) position() engine.Position {
	return engine.Position{Epoch: h.epoch, Offset: h.offset, Tag: h.head}
}

// at returns the entry with that offset, which is kept.
func (h *history) at(offset uint64) engine.Entry {
	k := &h.kept[h.first+int(offset-h.oldest())]
	return engine.Entry{
		Position: engine.Position{Epoch: h.epoch, Offset: offset, Tag: engine.TagOf(k.id)},
		Prev:     offset - 1, ID: k.id, Data: k.data,
	}
}

// append adds a record, whose data is now the log's, and returns by how much
// the cost changed.
func (h *history) append(id [16]byte, data []byte, now time.Duration) int {
	if len(h.kept) == cap(h.kept) && h.first > len(h.kept)/8 {
		n := copy(h.kept, h.kept[h.first:])
		clear(h.kept[n:])
		h.kept, h.first = h.kept[:n], 0
	}
	h.kept = append(h.kept, kept{id, data, now})
	h.offset++
	h.head = engine.TagOf(id)
	h.bytes += entryCost + len(data)
	h.cost += entryCost + len(data)
	return entryCost + len(data)
}

// trim drops entries by number, bytes and age, and returns what that freed. The
// newest stays whatever its size.
func (h *history) trim(now time.Duration) int {
	freed := 0
	for h.count() > h.class.Keep || h.count() > 1 && h.bytes > h.class.most {
		freed += h.shift()
	}
	if h.class.KeepFor > 0 {
		for h.count() > 0 && now-h.kept[h.first].at > h.class.KeepFor {
			freed += h.shift()
		}
	}
	return freed
}

// shift drops the oldest entry and returns what that freed.
func (h *history) shift() int {
	k := &h.kept[h.first]
	freed := entryCost + len(k.data)
	h.before = engine.TagOf(k.id)
	*k = kept{}
	h.first++
	if h.first == len(h.kept) {
		h.kept, h.first = nil, 0
	}
	h.bytes -= freed
	h.cost -= freed
	return freed
}

// clear drops all entries and keys, and returns what that freed.
func (h *history) clear() int {
	freed := h.clearEntries() + h.keys.cost
	h.cost -= h.keys.cost
	h.keys = keys{}
	return freed
}

func (h *history) clearEntries() int {
	freed := h.bytes
	h.kept, h.first, h.bytes = nil, 0, 0
	h.before = h.head
	h.cost -= freed
	return freed
}

// truncate loses the newest entries and what is known of their keys.
func (h *history) truncate(newest int) int {
	freed := 0
	for range min(newest, h.count()) {
		last := len(h.kept) - 1
		freed += entryCost + len(h.kept[last].data)
		h.kept[last] = kept{}
		h.kept = h.kept[:last]
		h.offset--
	}
	h.head = h.before
	if h.count() > 0 {
		h.head = engine.TagOf(h.kept[len(h.kept)-1].id)
	}
	h.bytes -= freed
	keys := h.keys.lose(h.offset)
	h.cost -= freed + keys
	return freed + keys
}

// page answers a read.
func (h *history) page(from engine.Position, limit int) engine.Page {
	p := engine.Page{Head: h.position()}
	if from != (engine.Position{}) && from.Epoch != h.epoch || from.Offset > h.offset {
		return p
	}
	oldest := h.oldest()
	switch {
	case from.Offset >= oldest:
		a := h.at(from.Offset)
		p.Anchor = &a
		p.Complete = a.Tag == from.Tag
	case from.Offset == oldest-1:
		p.Complete = h.before == from.Tag
	}
	start := max(from.Offset+1, oldest)
	for o := start; o <= h.offset && o-start < uint64(limit); o++ {
		p.Entries = append(p.Entries, h.at(o))
	}
	return p
}

// keys are the dedupe keys of one log that may still be asked for.
type keys struct {
	places map[string]place
	order  []place // oldest first
	cost   int
}

// place is where the record with a key is stored.
type place struct {
	key    string
	offset uint64
	tag    uint32
	at     time.Duration
}

func (k *keys) add(p place) int {
	if k.places == nil {
		k.places = map[string]place{}
	}
	k.places[p.key] = p
	k.order = append(k.order, p)
	k.cost += keyCost + len(p.key)
	return keyCost + len(p.key)
}

// expire forgets what is older than window and returns what that freed.
func (k *keys) expire(now, window time.Duration) int {
	n, freed := 0, 0
	for n < len(k.order) && now-k.order[n].at > window {
		freed += k.remove(k.order[n])
		n++
	}
	switch {
	case n == len(k.order):
		*k = keys{} // a map does not shrink by itself
	case n > 0:
		clear(k.order[:n])
		k.order = k.order[n:]
	}
	return freed
}

// lose forgets the records after offset and returns what that freed.
func (k *keys) lose(offset uint64) int {
	freed := 0
	for n := len(k.order); n > 0 && k.order[n-1].offset > offset; n-- {
		freed += k.remove(k.order[n-1])
		k.order = k.order[:n-1]
	}
	return freed
}

func (k *keys) remove(p place) int {
	delete(k.places, p.key)
	k.cost -= keyCost + len(p.key)
	return keyCost + len(p.key)
}
