package room

import (
	"slices"
	"time"
)

// tabs are the members of a user that are one entry, in a room with ByUser and Grace.
// The user is in grace until none of those that were dropped is expected back, whether
// others come and leave meanwhile or not.
type tabs struct {
	here []tab
	away []tab // dropped, and expected back: the next to end first
}

type tab struct {
	id, session string
	until       time.Time // when its grace ends; zero: it is in none
}

// mostAway is how many of a user are expected back: the latest.
const mostAway = 16

// open notes one that has come. Whoever was away is back where sessions do not tell.
func (u *tabs) open(t tab) {
	u.away = slices.DeleteFunc(u.away, func(old tab) bool {
		return old.id == t.id || t.session == "" || old.session == "" || old.session == t.session
	})
	u.here = append(u.here, t)
}

// renew notes the session that one has now: it may be the one of another that was away.
func (u *tabs) renew(t tab) {
	u.here = slices.DeleteFunc(u.here, func(old tab) bool { return old.id == t.id })
	u.open(t)
}

// shut notes one that has gone, for a time or for good, and returns which is expected
// back the longest: one without a time if none is. Who is here on another connection is
// not expected.
func (u *tabs) shut(gone tab) tab {
	if i := slices.IndexFunc(u.here, func(t tab) bool { return t.id == gone.id }); i >= 0 {
		gone.session = u.here[i].session
		u.here = slices.Delete(u.here, i, i+1)
	}
	back := func(t tab) bool { return t.session != "" && t.session == gone.session }
	if !gone.until.IsZero() && !slices.ContainsFunc(u.here, back) {
		u.away = append(u.away, gone)
		u.away = u.away[max(0, len(u.away)-mostAway):]
	}
	return u.last()
}

// forget lets nobody expect one that is away, and returns who is then expected back the
// longest, as shut does, and whether it was away.
func (u *tabs) forget(id string) (next tab, was bool) {
	n := len(u.away)
	u.away = slices.DeleteFunc(u.away, func(t tab) bool { return t.id == id })
	return u.last(), len(u.away) < n
}

func (u *tabs) last() tab {
	now := time.Now()
	u.away = slices.DeleteFunc(u.away, func(t tab) bool { return !t.until.After(now) })
	if len(u.away) == 0 {
		return tab{}
	}
	return u.away[len(u.away)-1]
}
