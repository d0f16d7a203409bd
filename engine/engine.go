// Package engine is the contract between hubbub and what connects its nodes and
// keeps the logs of its rooms. An engine implements Bus; one that implements Log
// too serves classes of the levels Recoverable and Durable. Package memory is
// the default engine, and package enginetest tests any other.
//
// All methods are safe for concurrent use. Nobody modifies a slice that was
// handed over, in either direction: an engine copies what it keeps of a caller's
// slice, a Sink may keep what it is given.
package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"
)

// Kind says what a Topic addresses.
type Kind uint8

// The kinds. Their values are letters, so that engines can use them in names.
const (
	KindRoom Kind = 'r' // the members of a room
	KindUser Kind = 'u' // the sessions of a user
	KindNode Kind = 'n' // one node's inbox; the name is its incarnation
	KindAll  Kind = 'a' // every node; the name is empty
)

// Topic is one routed name. Topics that differ in any field have nothing to do
// with each other. Only topics of KindRoom have logs.
type Topic struct {
	Kind  Kind
	Class string // the class of a room, empty for other kinds
	Name  string // any bytes, most likely UTF-8: engines escape it (see Token)
}

// Level is what a class of rooms promises.
type Level uint8

// The levels.
const (
	Ephemeral   Level = iota // at most once, no log
	Recoverable              // ordered, without a hole inside the window of the log, an explicit gap outside it
	Durable                  // as Recoverable, and acknowledged once it would survive what Log.Survives says
)

// Class is a group of rooms with one policy. Engines provision storage for each
// class, not for each room.
type Class struct {
	Name  string // 1 to 24 of a-z, 0-9 and -
	Level Level

	// Keep is how many entries each log keeps, at least 1 unless Ephemeral. An
	// engine may keep fewer only if it then always knows Entry.Prev. Bus.Start fails
	// for Bytes that the engine's own options do not allow a log.
	Keep    int
	KeepFor time.Duration // and for how long; 0: no limit by age

	// Bytes is about how many bytes of Record.Data each log keeps, 0: no limit of the
	// class. With entries of 1 KiB and more it is half of that at least and twice that at
	// most: an engine may count what an entry costs beside its data, and drop several at
	// once. A record that is larger is taken all the same.
	Bytes int

	// Dedupe is how long Record.Dedupe is remembered at least, whether or not the entry
	// is still kept, and whatever other classes say; 0: not at all.
	Dedupe time.Duration
}

// Validate says what is wrong with a class. Bus.Start refuses such a class.
func (c Class) Validate() error {
	if len(c.Name) < 1 || len(c.Name) > 24 {
		return fmt.Errorf("engine: class %q: a name has 1 to 24 bytes", c.Name)
	}
	for _, b := range []byte(c.Name) {
		if (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-' {
			return fmt.Errorf("engine: class %q: a name is made of a-z, 0-9 and -", c.Name)
		}
	}
	switch {
	case c.Level > Durable:
		return fmt.Errorf("engine: class %q: there is no level %d", c.Name, c.Level)
	case c.Level != Ephemeral && c.Keep < 1:
		return fmt.Errorf("engine: class %q: Keep must be at least 1", c.Name)
	case c.KeepFor < 0, c.Dedupe < 0, c.Bytes < 0:
		return fmt.Errorf("engine: class %q: a bound is negative", c.Name)
	}
	return nil
}

// Record is what is appended. Engines never look into Data: it may be any bytes.
type Record struct {
	ID   [16]byte // different messages have different ones
	Data []byte

	// Dedupe is empty, or a key for (room, sender, message) that is unique over all
	// rooms. Of several appends with one key, through whichever nodes and at the same
	// time too, one is stored, and the others are answered as its duplicates.
	Dedupe string

	// At, if it is not nil, makes the append conditional: it is stored only if
	// this is the head of the log, as Heads gives it for one topic, and fails with
	// ErrConflict otherwise. Epochs and offsets are compared, and tags if neither is 0;
	// so the zero Position is no head, not even of an empty log. A record whose Dedupe
	// is known is a duplicate, and no conflict.
	At *Position
}

// Entry is a stored Record.
type Entry struct {
	Position

	// Prev is the offset of the entry before it in the same log, even if that is
	// not kept any more; 0 if it is the first, or if the engine does not know.
	Prev uint64

	ID   [16]byte
	Data []byte
}

// Ack answers an append.
type Ack struct {
	Position

	// Duplicate: it had been stored before, at Position, whose tag is that of the ID which
	// is stored, not of this one's.
	Duplicate bool
}

// Page is one answer of Log.Read.
type Page struct {
	// Anchor is the entry exactly at the offset that was asked for, if it is
	// still kept. Whether it is the same entry, its tag says.
	Anchor *Entry

	// Entries are consecutive, oldest first. There may be fewer than asked for;
	// there is one at least if any after the asked position is kept.
	Entries []Entry

	// Complete is the engine's proof, for when there is no Anchor: the asked
	// position, with its tag, was one of this log, and nothing is missing between
	// it and Entries[0], or Head if there are no Entries. False proves nothing.
	Complete bool

	// Head was the head at some time during the call, as Heads gives it for one
	// topic. It is not older than the last of Entries.
	Head Position
}

// Survival says what an acknowledged append survives.
type Survival uint8

// The kinds of survival, weakest first.
const (
	SurvivesNothing Survival = iota // it is in the memory of one process
	SurvivesProcess                 // kill -9 of the engine's process
	SurvivesHost                    // the loss of power of one machine
)

// The errors that callers tell apart; engines wrap them. Every other error is
// for good: a retry of the same call fails too.
var (
	// ErrUnavailable: nothing was stored or sent, nor will it be. An append of which
	// that is not certain fails with ErrUncertain. Before Start and after Close every
	// method returns it.
	ErrUnavailable = errors.New("engine: unavailable")
	// ErrUncertain: the record may be stored. A retry with the same Dedupe inside
	// the class's window settles it.
	ErrUncertain = errors.New("engine: outcome of the append unknown")
	// ErrConflict: nothing was stored, as the log is not where Record.At says. The
	// record's Dedupe is not remembered.
	ErrConflict = errors.New("engine: the log has gone on")
)

// Bus delivers frames at most once, in order for each pair of publishing node
// and topic.
type Bus interface {
	// Start connects, provisions the classes and delivers into sink until Close.
	// It is called until it has returned nil once, never twice at a time. node is the
	// incarnation of the calling process: unique, never used again. After nil the link
	// is up until the Sink is told otherwise. When ctx ends before it is up, Start
	// fails and leaves nothing behind.
	Start(ctx context.Context, node string, classes []Class, sink Sink) error

	// Publish hands a frame over without waiting for the network. Every node that
	// has subscribed to t gets it, but for the publishing node itself. Frames of
	// 512 KiB are taken, and any bytes. nil means handed over, not delivered.
	Publish(t Topic, frame []byte) error

	// Subscribe adds interest in frames and entries; a topic that has it already
	// stays as it is. When it returns, this node's connection has taken it: what
	// this node publishes or appends from now on it will see where it should.
	// What another node publishes may still be missed for a moment. When it fails,
	// nothing is subscribed that was not before.
	Subscribe(ctx context.Context, ts ...Topic) error

	// Unsubscribe removes interest; topics without are ignored. It does not wait.
	// What is published after it returned is not delivered.
	Unsubscribe(ts ...Topic) error

	// Close ends everything that the engine has started, and answers pending
	// appends. No call of the Sink is under way or begins once it has returned nil;
	// hence it must not be called by the Sink. When ctx ends first, it returns an
	// error and the rest ends as soon as it can. Later calls do nothing.
	Close(ctx context.Context) error
}

// Log keeps entries for rooms of Recoverable and Durable classes. Other topics
// have no log: Append, Read and Heads fail.
type Log interface {
	// Append stores rec as the next entry of t and shows it to every node that
	// has subscribed to t, this one included. It does not block. done is called
	// exactly once, possibly before Append returns and in no particular order
	// with what the Sink is shown; it must not block, and the caller holds no lock
	// that it takes. Appends from one goroutine to one topic are stored, and
	// answered, in their order, unless one fails. When ctx ends, the engine stops
	// trying and answers ErrUnavailable or ErrUncertain, whichever is true.
	// Records of 512 KiB are taken.
	Append(ctx context.Context, t Topic, rec Record, done func(Ack, error))

	// Read returns up to limit, at least 1, consecutive entries after from. It
	// goes by Epoch and Offset: if from is of another epoch, or newer than the
	// head, only Head is set. The zero Position is before everything in any
	// epoch. Reading a log that does not exist makes none.
	Read(ctx context.Context, t Topic, from Position, limit int) (Page, error)

	// Heads returns the newest position of each topic, in their order. Where
	// nothing is kept, the tag is 0 unless the engine still knows it, and the
	// offset is not below any entry's before, and below every entry's to come. In
	// one epoch a head does not go back, unless the log lost its tail.
	// Asked for one topic, it is not older than any append answered to anyone
	// before the call; asked for many, it may be late by 5 seconds. It is no
	// barrier for Subscribe: look again a moment later.
	Heads(ctx context.Context, ts ...Topic) ([]Position, error)

	// Survives says what an acknowledged append survives. It does not change
	// after Start.
	Survives() Survival
}

// Prober is optional. An engine that can tell that nobody listens to a topic
// makes a node's death known sooner.
type Prober interface {
	// Listening reports whether any node has subscribed to t.
	Listening(ctx context.Context, t Topic) (bool, error)
}

// Sink is what an engine calls: one call at a time and in order for each topic,
// concurrently for different topics. Its methods do not block; they may call the
// engine, but for Close.
type Sink interface {
	Frame(t Topic, frame []byte)
	Entry(t Topic, e Entry)

	// Link reports the state of delivery for the topics that in accepts, nil for
	// all. After false anything may be missing. True says that the interest in all
	// of them is in place again; true without a false before says that something
	// was dropped. Either way the receiver should look. What was stored before
	// false is not shown after true: the log may have lost it. Calls of Link do not
	// overlap. in is to be called before Link returns, or later: it stays valid.
	Link(up bool, in func(Topic) bool)
}

// TagOf is the fingerprint of a message that its position carries: FNV-1a of
// its id, but never 0.
func TagOf(id [16]byte) uint32 {
	h := fnv.New32a()
	_, _ = h.Write(id[:])
	return max(h.Sum32(), 1)
}
