package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"posthorn/internal/message"
	"posthorn/internal/secret"
)

// A refused password is remembered only so long that a job with an old one
// does not ask the server at each run of a loop, and that its owner, who has
// just set it right, does not notice.
const refusalTTL = 5 * time.Second

type verdict int

const (
	unknown verdict = iota
	good
	bad
	stale // was good, too long ago to count while the server can be asked
)

// A fingerprint stands for an account with a password.
type fingerprint [sha256.Size]byte

// cache remembers verdicts, without passwords: who reads the memory of another
// process, or an old core dump, finds nothing to try elsewhere without the key.
//
// Good verdicts are one for each account, so that the old password is refused
// at once when the new one was used; an account that has two valid passwords
// in turns is asked about more often. Bad ones are by fingerprint and apart:
// no flood of wrong passwords pushes out a good one. So are questions that got no
// verdict, which are remembered to be counted once as guesses.
type cache struct {
	key [sha256.Size]byte // random, made at start; immutable
	ttl time.Duration     // how long a good verdict is good; what lives longer is stale

	mu    sync.Mutex // guards them all
	good  bounded[message.JID]
	bad   bounded[fingerprint]
	asked bounded[fingerprint]
}

// newCache makes a cache that knows for askedTTL what it was told of questions
// without a verdict.
func newCache(ttl, staleTTL, askedTTL time.Duration, size int) *cache {
	c := &cache{ttl: ttl}
	_, _ = rand.Read(c.key[:]) // never fails: crypto/rand ends the program instead
	c.good = bounded[message.JID]{size: size, life: max(ttl, staleTTL), entries: map[message.JID]entry{}}
	c.bad = bounded[fingerprint]{size: size, life: min(ttl, refusalTTL), entries: map[fingerprint]entry{}}
	c.asked = bounded[fingerprint]{size: size, life: askedTTL, entries: map[fingerprint]entry{}}
	return c
}

// mac is HMAC-SHA256 over the account, NUL, and the password; neither part has
// a NUL inside.
func (c *cache) mac(account message.JID, password secret.Value) fingerprint {
	h := hmac.New(sha256.New, c.key[:])
	h.Write([]byte(account))
	h.Write([]byte{0})
	h.Write([]byte(password.Reveal()))
	return fingerprint(h.Sum(nil))
}

func (c *cache) get(account message.JID, mac fingerprint) verdict {
	is, _ := c.look(account, mac, network{})
	return is
}

// look gives the verdict, and of one that is or was good whether the password came
// from there before.
func (c *cache) look(account message.JID, mac fingerprint, from network) (is verdict, home bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, found := c.good.get(account)
	same := found && last.is(mac)
	home = same && slices.Contains(last.from, from)
	if same && time.Since(last.at) < c.ttl {
		return good, home
	}
	if _, found := c.bad.get(mac); found {
		return bad, false
	}
	if same {
		return stale, home
	}
	return unknown, false
}

func (c *cache) put(account message.JID, mac fingerprint, is verdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if is == good {
		last, _ := c.good.get(account)
		if !last.is(mac) {
			last.from = nil
		}
		c.good.put(account, entry{mac, time.Now(), last.from})
		return
	}
	c.bad.put(mac, entry{mac: mac, at: time.Now()})
	if last, found := c.good.get(account); found && last.is(mac) {
		delete(c.good.entries, account) // once refused, a password is never stale
	}
}

// maxHomes is how many networks an account is known to be at home in: of one who
// sends from more, those from which they sent last.
const maxHomes = 4

// settle remembers that the account's right password came from there.
func (c *cache) settle(account message.JID, mac fingerprint, from network) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, found := c.good.get(account)
	if !found || !last.is(mac) || slices.Contains(last.from, from) {
		return
	}
	last.from = append(slices.Clone(last.from[max(0, len(last.from)+1-maxHomes):]), from)
	c.good.entries[account] = last
}

// unanswered remembers that there was no verdict, and wasAsked tells that.
func (c *cache) unanswered(mac fingerprint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, found := c.asked.get(mac); !found {
		c.asked.put(mac, entry{mac: mac, at: time.Now()})
	}
}

func (c *cache) wasAsked(mac fingerprint) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, found := c.asked.get(mac)
	return found
}

type entry struct {
	mac  fingerprint
	at   time.Time // of the verdict
	from []network // where a good one came from, the last at the end; never written to
}

func (e entry) is(mac fingerprint) bool { return hmac.Equal(e.mac[:], mac[:]) }

// bounded is a map of at most size entries, each for its life.
type bounded[K comparable] struct {
	size    int
	life    time.Duration
	entries map[K]entry
}

func (b bounded[K]) get(key K) (entry, bool) {
	e, found := b.entries[key]
	if found && time.Since(e.at) >= b.life {
		delete(b.entries, key)
		return entry{}, false
	}
	return e, found
}

func (b bounded[K]) put(key K, e entry) {
	if b.size <= 0 || b.life <= 0 {
		return
	}
	if _, there := b.entries[key]; !there && len(b.entries) >= b.size {
		b.evict()
	}
	b.entries[key] = e
}

// evict drops the oldest entry of a few that the map gives at random: nearly
// as good as the oldest of all, without keeping them in order.
func (b bounded[K]) evict() {
	const sample = 8
	var first K
	var oldest time.Time
	seen := 0
	for key, e := range b.entries {
		if seen == 0 || e.at.Before(oldest) {
			first, oldest = key, e.at
		}
		if seen++; seen == sample {
			break
		}
	}
	delete(b.entries, first)
}
