package room

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/message"
)

// Receipt says where a message was stored.
type Receipt struct {
	// Cursor is the position of the message in its room.
	Cursor string
	// Duplicate: it had been stored before, there.
	Duplicate bool
}

// Once makes a recoverable room store a message once, however often it is sent
// with the same session and id while Recoverable.Dedupe lasts. The members of that
// session are told that it is stored (Publisher) when the message's turn comes, and
// if the sender is left out, none of them gets it as a message.
// n tells apart what is published because of one id, counted from 0; only the
// first is told. sum says whether it is the same message: another one with the
// same session, id and n is a message.Conflict; 0 is not compared. Other rooms
// ignore it.
func Once(session Session, id string, n int, sum uint64) BroadcastOption {
	return BroadcastOption{once: &once{session, id, n, sum}}
}

// At makes a recoverable room store a message only if no other came after that
// cursor; the error otherwise has the code message.Conflict. Other rooms ignore
// it.
func At(cursor string) BroadcastOption { return BroadcastOption{at: &cursor} }

type once struct {
	session Session
	id      string
	n       int
	sum     uint64
}

// Publish is Broadcast for a recoverable room: it returns when the message is
// stored, and says where. The error is a *message.Error: Conflict, Unavailable
// if nothing was stored, Timeout if that is not known, so that only a retry by
// Once is safe. In other rooms, and for a message that is volatile, Publish
// broadcasts and the Receipt is empty.
func (r *Room) Publish(ctx context.Context, e message.Envelope, opts ...BroadcastOption) (Receipt, error) {
	if r.manager.log == nil || e.IsVolatile() {
		return Receipt{}, r.send(ctx, e, opts)
	}
	if err := ctx.Err(); err != nil {
		return Receipt{}, err
	}
	e.Room = r.name
	f, err := message.Encode(e, r.manager.opts.Codec, message.CatchUp)
	if err != nil {
		return Receipt{}, err
	}
	rec, err := r.record(f, e.From, opts)
	if err != nil {
		return Receipt{}, err
	}
	if _, err := r.manager.log.feeds(ctx); err != nil {
		return Receipt{}, clientError(err)
	}
	receipt, at, err := r.store(ctx, rec)
	if err == nil && receipt.Duplicate {
		err = r.same(ctx, at, rec)
	}
	return receipt, err
}

// record is what the log gets.
func (r *Room) record(f *message.Frame, from string, opts []BroadcastOption) (engine.Record, error) {
	rec := record{binary: f.Binary(), payload: f.Payload()}
	var out engine.Record
	for _, o := range opts {
		if o.at != nil {
			at, err := engine.ParsePosition(*o.at)
			if err != nil {
				return out, &message.Error{Code: message.Invalid, Message: "this is no cursor", Field: "since"}
			}
			out.At = &at
		}
		if o.once != nil {
			if len(o.once.id) > 255 {
				return out, &message.Error{Code: message.Invalid, Message: "an id has at most 255 bytes", Field: "id"}
			}
			if rec.sender, rec.sum = o.once.session, o.once.sum; len(from) < 256 {
				rec.from = from
			}
			if o.once.n == 0 {
				rec.id = o.once.id
			}
			out.Dedupe = dedupe(r.manager.class.Name, r.name, o.once.session, o.once.id, o.once.n)
		}
	}
	for _, id := range left(opts) {
		switch s := r.sessionOf(id); {
		case rec.sender != (Session{}) && (s == rec.sender || id == from): // who has left has no session here
			rec.skip = true
		case !slices.Contains(rec.except, s):
			rec.except = append(rec.except, s)
		}
	}
	id, err := uuid.NewV7()
	out.ID, out.Data = id, rec.append(nil)
	return out, err
}

// sessionOf returns who the member with that ID is; for who is not there, who a
// member of that ID without a session would be.
func (r *Room) sessionOf(id string) Session {
	if live := r.live(); live != nil {
		live.mu.RLock()
		defer live.mu.RUnlock()
		if i := live.find(id); i >= 0 {
			return sessionOf(live.members[i].Member)
		}
	}
	return SessionOf(id)
}

func sessionOf(m Member) Session {
	if p, ok := m.(Publisher); ok {
		if s := p.Session(); s != (Session{}) {
			return s
		}
	}
	return SessionOf(m.ID())
}

// overdue is how long after the end of its context an append is waited for: the
// engine stops trying then, and knows best what has become of it.
const overdue = time.Second

// store appends and waits for the answer.
func (r *Room) store(ctx context.Context, rec engine.Record) (Receipt, engine.Position, error) {
	type answer struct {
		ack engine.Ack
		err error
	}
	answered := make(chan answer, 1)
	r.manager.log.log.Append(ctx, r.topic(), rec, func(a engine.Ack, err error) { answered <- answer{a, err} })
	var a answer
	select {
	case a = <-answered:
	case <-ctx.Done():
		select {
		case a = <-answered:
		case <-time.After(overdue):
			a.err = engine.ErrUncertain
		}
	}
	if a.err != nil {
		return Receipt{}, engine.Position{}, clientError(a.err)
	}
	return Receipt{Cursor: a.ack.Position.String(), Duplicate: a.ack.Duplicate}, a.ack.Position, nil
}

// same says whether what is stored at a place is the message that was found to be
// there already. What is not kept any more cannot be compared.
func (r *Room) same(ctx context.Context, at engine.Position, again engine.Record) error {
	var a, b record
	if a.parse(again.Data) != nil || a.sum == 0 {
		return nil
	}
	page, err := r.manager.log.log.Read(ctx, r.topic(), engine.Position{Epoch: at.Epoch, Offset: at.Offset - 1}, 1)
	if err != nil || len(page.Entries) == 0 || page.Entries[0].Position != at || b.parse(page.Entries[0].Data) != nil {
		return nil
	}
	if b.sum != a.sum {
		return message.Errorf(message.Conflict, "the id was used for another message")
	}
	return nil
}

func (r *Room) topic() engine.Topic {
	return engine.Topic{Kind: engine.KindRoom, Class: r.manager.class.Name, Name: r.name}
}
