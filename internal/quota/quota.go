// Package quota counts how much of an allowance each of many strangers has used,
// in memory that is bounded however many they are.
//
// Each key has a burst that it may use at once, of which one comes back at each
// interval: the generic cell rate algorithm, a leaky bucket that is held as the
// one moment at which nothing is owed any more (ITU-T I.371, annex A).
//
// Who is told to wait, and why, is for the caller to know.
package quota

import (
	"hash/maphash"
	"sync"
	"time"
)

// A Table has an allowance for each key. It is safe for use by many goroutines.
type Table[K comparable] struct {
	burst    int           // immutable after New
	interval time.Duration // immutable after New
	most     int           // entries; immutable after New
	began    time.Time     // immutable after New
	seed     maphash.Seed  // immutable after New

	mu    sync.Mutex // guards debts
	debts map[mark]debt
}

// A mark stands for a key, however long that is. Nobody can choose keys that have
// the same one, since they are hashed with a secret seed.
type mark uint64

// A debt is what a key has used. It takes little, since there are many.
type debt struct {
	until   time.Duration // since the table began: when nothing is owed any more
	refused bool          // something was asked for that was not there, since then
}

// mostOwed bounds what Owe lets a key owe, in bursts: so many may each let it use a
// burst of theirs in the same moment, and its share of all of them stays one.
const mostOwed = 16

// New makes a Table for that many keys, each of which may use burst at once, and
// gets one back at each interval.
func New[K comparable](burst int, interval time.Duration, most int) *Table[K] {
	return &Table[K]{burst: burst, interval: interval, most: most, began: time.Now(), seed: maphash.MakeSeed(), debts: map[mark]debt{}}
}

// Take uses n, or nothing: wait is then how long it takes until n can be had, and
// first whether this is the key's first refusal since it owed nothing. More than the
// burst can be had by who owes nothing.
func (t *Table[K]) Take(key K, n int) (wait time.Duration, first bool) {
	m := t.mark(key)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Since(t.began)
	if wait, first = t.check(m, now, n); wait > 0 {
		return wait, first
	}
	d := t.debtAt(m, now)
	d.until += time.Duration(n) * t.interval
	t.debts[m] = d
	return 0, false
}

// Owe uses one, whether or not it can be had: somebody else has let the key use it.
func (t *Table[K]) Owe(key K) {
	m := t.mark(key)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Since(t.began)
	d := t.debtAt(m, now)
	d.until = min(d.until+t.interval, now+mostOwed*time.Duration(t.burst)*t.interval)
	t.debts[m] = d
}

// Check is Take of one that uses nothing.
func (t *Table[K]) Check(key K) (wait time.Duration, first bool) {
	m := t.mark(key)
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.check(m, time.Since(t.began), 1)
}

func (t *Table[K]) mark(key K) mark { return mark(maphash.Comparable(t.seed, key)) }

func (t *Table[K]) check(m mark, now time.Duration, n int) (wait time.Duration, first bool) {
	d, found := t.debts[m]
	free := time.Duration(t.burst-min(n, t.burst)) * t.interval
	if wait = d.until - now - free; !found || wait <= 0 {
		return 0, false
	}
	first = !d.refused
	d.refused = true
	t.debts[m] = d
	return wait, first
}

// Give takes back a Take of n.
func (t *Table[K]) Give(key K, n int) {
	m := t.mark(key)
	t.mu.Lock()
	defer t.mu.Unlock()
	d, found := t.debts[m]
	if d.until -= time.Duration(n) * t.interval; d.until <= time.Since(t.began) {
		delete(t.debts, m)
	} else if found {
		t.debts[m] = d
	}
}

// Used is how much key has used and not got back.
func (t *Table[K]) Used(key K) int {
	m := t.mark(key)
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.debts[m]
	owed := max(0, d.until-time.Since(t.began))
	return int((owed + t.interval - 1) / t.interval)
}

// debtAt is the debt of m at that time, with room for it.
func (t *Table[K]) debtAt(m mark, now time.Duration) debt {
	d, found := t.debts[m]
	if !found && len(t.debts) >= t.most {
		t.evict(now)
	}
	if d.until <= now {
		return debt{until: now}
	}
	return d
}

// evict drops the smallest debt of a few that the map gives at random. Who has
// used up an allowance and wants that forgotten has to fill the table with others
// that owe as much: strangers who come once drop each other.
func (t *Table[K]) evict(now time.Duration) {
	const sample = 8
	var smallest mark
	var until time.Duration
	seen := 0
	for m, d := range t.debts {
		if seen == 0 || d.until < until {
			smallest, until = m, d.until
		}
		if seen++; seen == sample || until <= now {
			break
		}
	}
	delete(t.debts, smallest)
}
