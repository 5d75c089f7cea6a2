package auth

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
	"posthorn/internal/token"
)

// A pool is two posthorns before one server, which tell each other of guesses.
type pool struct {
	rigs [2]*rig
	mu   sync.Mutex // guards told
	told []string   // account and network of each guess
}

func newPool(t *testing.T, script func(*peer), change ...func(*Options)) *pool {
	p := &pool{}
	for i := range p.rigs {
		share := func(o *Options) {
			o.Guessed = func(account message.JID, network string) {
				p.mu.Lock()
				p.told = append(p.told, fmt.Sprintf("%s from %s", account, network))
				p.mu.Unlock()
				p.rigs[1-i].GuessedElsewhere(account, network)
			}
		}
		p.rigs[i] = newRig(t, DirectTLS, script, append([]func(*Options){throttled, share}, change...)...)
	}
	return p
}

func (p *pool) done() {
	for _, r := range p.rigs {
		r.done()
	}
}

// TestSharedGuesses: who guesses at two posthorns has the guesses of one, whatever is
// wrong with them, and each is told once.
func TestSharedGuesses(t *testing.T) {
	const from = "192.0.2.1"
	for name, test := range map[string]struct {
		address, user, password string
		told                    string
	}{
		"a wrong password":       {from, "me@example.com", "guess", "me@example.com from 192.0.2.1"},
		"an unknown account":     {from, "nobody@example.com", password, "nobody@example.com from 192.0.2.1"},
		"an unknown host":        {from, "me@other.example", password, "me@other.example from 192.0.2.1"},
		"no possible password":   {from, "me@example.com", "", "me@example.com from 192.0.2.1"},
		"IPv6":                   {"2001:db8:1:2::1%eth0", "me@example.com", "guess", "me@example.com from 2001:db8:1:2::"},
		"IPv4 in IPv6":           {"::ffff:192.0.2.1", "me@example.com", "guess", "me@example.com from 192.0.2.1"},
		"a socket without one's": {"", "me@example.com", "guess", "me@example.com from "},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPool(t, plainServer(always(password), 0))
				client, _ := netip.ParseAddr(test.address)
				for i := range 3 {
					_, err := p.rigs[i%2].Verify(t.Context(), test.user, secret.New(test.password), client)
					checkKind(t, err, wrong)
				}
				for _, r := range p.rigs {
					_, err := r.Verify(t.Context(), test.user, secret.New(test.password), client)
					checkKind(t, err, slower)
					if n := strings.Count(r.log.String(), "too many failed logins"); n != 1 {
						t.Errorf("%d lines about it, want 1:\n%s", n, r.log)
					}
					checkKind(t, r.tryFrom("192.0.2.2", "me@example.com", password), ok)
				}
				p.done()
				if diff := cmp.Diff([]string{test.told, test.told, test.told}, p.told); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// TestSharedTokens: a wrong token is a guess too, for no account or the one it names.
func TestSharedTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, nil, func(o *Options) { o.Tokens = &memory{tokens: map[string]token.Token{}} })
		client := netip.MustParseAddr("192.0.2.1")
		for i, want := range []fault.Kind{wrong, wrong, wrong, slower, slower} {
			_, err := p.rigs[i%2].VerifyToken(t.Context(), "", secret.New("ph_guess"), client)
			checkKind(t, err, want)
		}
		_, err := p.rigs[0].VerifyToken(t.Context(), "me", secret.New("ph_guess"), client)
		checkKind(t, err, wrong)
		p.done()
		want := []string{" from 192.0.2.1", " from 192.0.2.1", " from 192.0.2.1", "me@example.com from 192.0.2.1"}
		if diff := cmp.Diff(want, p.told); diff != "" {
			t.Error(diff)
		}
	})
}

// TestSharedForgiveness: what is no guess, or none that stays counted, nobody is told.
func TestSharedForgiveness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := fine(password)
		p := newPool(t, func(peer *peer) { now.peer(peer) }, func(o *Options) { o.StaleTTL = time.Hour })
		for range 10 {
			for _, r := range p.rigs {
				checkKind(t, r.tryFrom("192.0.2.1", "me@example.com", password), ok)
				r.forget()
			}
		}
		if p.told != nil {
			t.Errorf("of a right password others are told %q", p.told)
		}
		now = banned
		for i := range 10 { // the same again and again, about which nobody can be asked
			checkKind(t, p.rigs[0].tryFrom("192.0.2.1", "me@example.com", "same"), unavailable)
			if len(p.told) != 1 {
				t.Errorf("after %d: others are told %q", i+1, p.told)
			}
		}
		p.done()
	})
}

// TestSharedAtOnce: who guesses at both in the same moment has a few more, and waits for
// them afterwards: in a longer time it comes to the guesses of one.
func TestSharedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, plainServer(always(password), time.Millisecond))
		for minute := range 100 {
			p.rigs[0].tryAll(10, func(i int) error {
				return p.rigs[i%2].tryFrom("192.0.2.1", "me@example.com", fmt.Sprint("guess", minute, i))
			})
			time.Sleep(time.Minute - refusalStep)
		}
		p.done()
		if n := len(p.told); n < 100 || n > 100+3+1 {
			t.Errorf("%d guesses in 100 minutes, want 3 at once, one more that was under way, and one a minute", n)
		}
	})
}

// TestElsewhereBounded: what others say takes no more memory than what is seen here, and
// what is malformed counts for nothing.
func TestElsewhereBounded(t *testing.T) {
	v, err := New(Options{Hosts: []Host{{Domain: domain}}, Failures: 3, Window: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	long := strings.Repeat("x", maxAccountBytes)
	for where, account := range map[string]string{
		"192.0.2.256": "me@example.com", "192.0.2.1/32": "me@example.com", "invalid IP": "me@example.com", " ": "me@example.com",
		"192.0.2.1": long + "x",
	} {
		v.GuessedElsewhere(message.JID(account), where)
		if n := v.throttle.owes(message.JID(account), networkOf(netip.MustParseAddr("192.0.2.1"))) + v.throttle.owes("me@example.com", network{}); n != 0 {
			t.Errorf("%.30q from %q counts %d", account, where, n)
		}
	}
	before := heap()
	for n := range 6 * maxThrottled {
		host := fmt.Sprintf("%d.example", n)
		v.GuessedElsewhere(message.JID(long[:maxAccountBytes-len(host)]+host), netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}).String())
	}
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("%d bytes of what others say", grown)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
