package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
)

// plainServer accepts what right holds at that time, by PLAIN, after a while.
func plainServer(right func() string, after time.Duration) func(*peer) {
	return func(p *peer) {
		p.encrypt()
		p.open(mechanisms("PLAIN"))
		said := decodeText(p, p.hear(`<auth .*>(.+)</auth>`)[1])
		time.Sleep(after) // in a bubble of synctest: no time passes
		if said == "\x00me\x00"+right() {
			p.succeed("")
		} else {
			p.say(failure("not-authorized"))
		}
		p.end()
	}
}

func always(password string) func() string { return func() string { return password } }

// TestOneAnswer: unknown host, unknown account, wrong password and what cannot
// be a password are the same answer, at the same time.
func TestOneAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, DirectTLS, plainServer(always(password), time.Millisecond))
		for _, try := range []struct{ user, password string }{
			{"me@example.com", "wrong"},
			{"me@example.com", "wrong"}, // remembered
			{"you@example.com", password},
			{"me@other.example", password},
			{"me@example.com", ""},
			{"me@example.com", password + "\x00"},
			{"me@example.com", "\xff"},
			{"me@example.com", strings.Repeat("x", maxPasswordBytes+1)},
		} {
			began := time.Now()
			_, err := r.Verify(t.Context(), try.user, secret.New(try.password), netip.Addr{})
			r.note(err)
			if kindOf(err) != fault.Unauthenticated || fault.Of(err).Public != "wrong user name or password" {
				t.Errorf("Verify(%q, %.10q) = %v", try.user, try.password, err)
			}
			if took := time.Since(began); took != refusalStep {
				t.Errorf("Verify(%q, %.10q) took %v", try.user, try.password, took)
			}
		}
		r.done()
		if n := r.dials.Load(); n != 2 {
			t.Errorf("%d probes, want 2", n)
		}
		if n := strings.Count(r.log.String(), `level=INFO msg="login failed" jid=`); n != 8 {
			t.Errorf("%d lines about a failed login, want 8:\n%s", n, r.log)
		}
	})
}

// TestLateRefusal: a slow refusal comes at the next step.
func TestLateRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, DirectTLS, plainServer(always(password), refusalStep+time.Millisecond))
		began := time.Now()
		err := r.verify("wrong")
		if took := time.Since(began); kindOf(err) != fault.Unauthenticated || took != 2*refusalStep {
			t.Errorf("Verify() = %v after %v", err, took)
		}
		r.done()
	})
}

// TestNames: who is meant by what is typed.
func TestNames(t *testing.T) {
	two := []Host{{Domain: "example.com", Address: "a"}, {Domain: "Other.Example", Address: "b"}}
	for _, test := range []struct {
		user, defaultDomain string
		hosts               []Host
		want                message.JID // empty: refused with a detail
	}{
		{"me@example.com", "", two, "me@example.com"},
		{"Me@EXAMPLE.com/phone", "", two, "me@example.com"},
		{"me@other.example", "", two, "me@other.example"},
		{"me", "", two[:1], "me@example.com"},
		{"me/phone", "", two[:1], "me@example.com"},
		{"me", "other.example", two, "me@other.example"},
		{"me/a@b", "other.example", two, "me@other.example"},
		{"me", "", two, ""},
		{"", "", two[:1], ""},
		{"a b", "", two[:1], ""},
		{"me\x00", "", two[:1], ""},
		{"me\x00@example.com", "", two, ""},
		{"\xff", "", two[:1], ""},
		{"STRAẞE", "", two[:1], ""},
	} {
		v, err := New(Options{Hosts: test.hosts, DefaultDomain: test.defaultDomain})
		if err != nil {
			t.Fatal(err)
		}
		got, err := v.account(test.user)
		if got != test.want || test.want == "" && (kindOf(err) != fault.Unauthenticated || !strings.Contains(err.Error(), "me@example.com")) {
			t.Errorf("account(%q) = %q, %v; want %q", test.user, got, err, test.want)
		}
		v.Close()
	}
}

func TestNewRefuses(t *testing.T) {
	for name, o := range map[string]Options{
		"in clear over a network":     {Hosts: []Host{{Domain: domain, Address: "192.0.2.1", TLS: NoTLS}}},
		"in clear, by name":           {Hosts: []Host{{Domain: domain, Address: "localhost.example.com:5222", TLS: NoTLS}}},
		"in clear, by DNS":            {Hosts: []Host{{Domain: domain, TLS: NoTLS}}},
		"no domain":                   {Hosts: []Host{{}}},
		"a JID for a domain":          {Hosts: []Host{{Domain: "me@example.com"}}},
		"a host twice":                {Hosts: []Host{{Domain: domain}, {Domain: "EXAMPLE.com"}}},
		"a default that is elsewhere": {Hosts: []Host{{Domain: domain}}, DefaultDomain: "other.example"},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: New() = nil", name)
		}
	}
	for _, address := range []string{"127.0.0.1", "127.0.0.1:5222", "::1", "[::1]:5222", "localhost", "127.8.8.8:1"} {
		if _, err := New(Options{Hosts: []Host{{Domain: domain, Address: address, TLS: NoTLS}}}); err != nil {
			t.Errorf("in clear to %s: %v", address, err)
		}
	}
}

// TestLocalhostElsewhere: a resolver that sends localhost elsewhere gets
// nothing in clear.
func TestLocalhostElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, NoTLS, func(p *peer) { p.eof() }, func(o *Options) {
			o.Hosts[0].Address = "localhost"
			dial := o.Dial
			o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dial(ctx, network, address)
				return elsewhere{conn}, err
			}
		})
		err := r.verify(password)
		r.done()
		checkReason(t, err, TLSFailed)
	})
}

type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5222} }

// TestCache: a right password is asked about once in a cache's life, and the
// old one is refused at once when the new one was used.
func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		right := password
		r := newRig(t, DirectTLS, plainServer(func() string { return right }, 0))
		step := func(what, given string, want fault.Kind, probes int32) {
			t.Helper()
			if err := r.verify(given); kindOf(err) != want || r.dials.Load() != probes {
				t.Fatalf("%s: Verify() = %v after %d probes; want kind %d after %d", what, err, r.dials.Load(), want, probes)
			}
		}
		ok, no := fault.Internal, fault.Unauthenticated
		step("first", password, ok, 1)
		step("again", password, ok, 1)
		step("wrong", "wrong", no, 2)
		step("wrong again", "wrong", no, 2)
		step("right in between", password, ok, 2)
		time.Sleep(refusalTTL)
		step("wrong later", "wrong", no, 3)
		time.Sleep(time.Minute)
		step("after its life", password, ok, 4)
		right = "new"
		step("old, still remembered", password, ok, 4)
		step("new", "new", ok, 5)
		step("old", password, no, 6)
		r.done()
		for result, want := range map[string]float64{"hit": 3, "negative": 1, "miss": 6} {
			if got := testutil.ToFloat64(r.metrics.cache.WithLabelValues(result)); got != want {
				t.Errorf("%s: %v, want %v", result, got, want)
			}
		}
		for outcome, want := range map[string]float64{"accepted": 3, "refused": 3} {
			if got := testutil.ToFloat64(r.metrics.probes.WithLabelValues(outcome)); got != want {
				t.Errorf("%s: %v, want %v", outcome, got, want)
			}
		}
	})
}

func TestNoCache(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no life": func(o *Options) { o.CacheTTL = 0 },
		"no room": func(o *Options) { o.CacheSize = 0 },
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, DirectTLS, plainServer(always(password), 0), change)
			for _, given := range []string{password, password, "wrong", "wrong"} {
				_ = r.verify(given)
			}
			r.done()
			if n := r.dials.Load(); n != 4 {
				t.Errorf("%s: %d probes, want 4", name, n)
			}
			if n := len(r.cache.good.entries) + len(r.cache.bad.entries); n > 0 {
				t.Errorf("%s: %d verdicts are held", name, n)
			}
		})
	}
}

// TestUnavailableIsNotRemembered: the next one asks again.
func TestUnavailableIsNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		r := newRig(t, DirectTLS, func(p *peer) {
			if up.Load() {
				plainServer(always(password), 0)(p)
			}
		})
		checkReason(t, r.verify(password), TLSFailed)
		up.Store(true)
		checkReason(t, r.verify(password), "")
		r.done()
	})
}

// TestCollapse: a hundred that ask the same are one probe, and one of them who
// goes away does not take it along.
func TestCollapse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, DirectTLS, plainServer(always(password), time.Second))
		ctx, cancel := context.WithCancel(t.Context())
		var first, others sync.WaitGroup
		first.Go(func() {
			_, err := r.Verify(ctx, "me@example.com", secret.New(password), netip.Addr{})
			if kindOf(err) != fault.Unavailable || !errors.Is(err, context.Canceled) {
				t.Errorf("who went away got %v", err)
			}
		})
		synctest.Wait()
		for range 100 {
			others.Go(func() {
				if _, err := r.Verify(t.Context(), "me@example.com", secret.New(password), netip.Addr{}); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		cancel()
		first.Wait()
		others.Wait()
		r.done()
		if n := r.dials.Load(); n != 1 {
			t.Errorf("%d probes, want 1", n)
		}
	})
}

// TestTurns: wrong passwords for one account take two turns and leave the
// others to others; who gets no turn in time is told so, and who finds too
// many waiting is told at once.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running atomic.Int32
		r := newRig(t, DirectTLS, func(p *peer) {
			running.Add(1)
			defer running.Add(-1)
			_, _ = io.Copy(io.Discard, p.conn) // silence
		})
		var all sync.WaitGroup
		ask := func(user, password string) {
			all.Go(func() {
				_, err := r.Verify(t.Context(), user, secret.New(password), netip.Addr{})
				if kindOf(err) != fault.Unavailable {
					t.Errorf("Verify() = %v", err)
				}
			})
		}
		for i := range maxAccountWaiting {
			ask("me@example.com", fmt.Sprint("wrong", i))
		}
		synctest.Wait()
		if n := running.Load(); n != maxAccountProbes {
			t.Errorf("%d probes for one account, want %d", n, maxAccountProbes)
		}
		began := time.Now()
		checkReason(t, r.verify("one too many"), Busy)
		for i := range maxWaiting - maxAccountWaiting {
			ask(fmt.Sprintf("user%d@example.com", i), "x")
		}
		synctest.Wait()
		if n := running.Load(); n != maxProbes {
			t.Errorf("%d probes, want %d", n, maxProbes)
		}
		ask("one-too-many@example.com", "x")
		synctest.Wait()
		r.flights["example.com"].mu.Lock()
		if n := len(r.flights["example.com"].shared); n != maxWaiting || time.Since(began) != 0 {
			t.Errorf("%d wait after %v, want %d at once", n, time.Since(began), maxWaiting)
		}
		r.flights["example.com"].mu.Unlock()
		all.Wait()
		if took := time.Since(began); took != probeTimeout {
			t.Errorf("told after %v, want %v", took, probeTimeout)
		}
		r.done()
		if len(r.flights["example.com"].accounts)+len(r.flights["example.com"].shared) > 0 {
			t.Error("flights are left")
		}
	})
}

// TestClose ends the probes under way.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, StartTLS, func(p *peer) { _, _ = io.Copy(io.Discard, p.conn) })
		began := time.Now()
		go func() {
			synctest.Wait()
			r.Close()
		}()
		checkReason(t, r.verify(password), Timeout)
		if took := time.Since(began); took != 0 {
			t.Errorf("took %v", took)
		}
		r.done()
	})
}

func TestCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(time.Minute, time.Hour, time.Minute, 10)
		mine := c.mac("me@example.com", secret.New("mine"))
		c.put("me@example.com", mine, good)
		for i := range 1000 {
			account := message.JID(fmt.Sprintf("a%d@example.com", i))
			c.put(account, c.mac(account, secret.New("x")), bad)
		}
		if len(c.bad.entries) != 10 || c.get("me@example.com", mine) != good {
			t.Errorf("%d bad verdicts, want 10; and the good one is %v", len(c.bad.entries), c.get("me@example.com", mine))
		}
		for i := range 1000 {
			account := message.JID(fmt.Sprintf("b%d@example.com", i))
			mac := c.mac(account, secret.New("x"))
			time.Sleep(time.Millisecond)
			if c.put(account, mac, good); len(c.good.entries) > 10 || c.get(account, mac) != good {
				t.Fatalf("%d good verdicts, want 10 with the last", len(c.good.entries))
			}
		}
	})
}

// TestFingerprints: another account with the same password, or the same letters
// shared out otherwise, is another fingerprint; so is another start.
func TestFingerprints(t *testing.T) {
	c := newCache(time.Minute, time.Hour, time.Minute, 1)
	seen := map[fingerprint]bool{
		c.mac("a@b", secret.New("cd")): true,
		c.mac("a@bc", secret.New("d")): true,
		c.mac("b@b", secret.New("cd")): true,
		newCache(time.Minute, time.Hour, time.Minute, 1).mac("a@b", secret.New("cd")): true,
	}
	if len(seen) != 4 || !seen[c.mac("a@b", secret.New("cd"))] {
		t.Error("fingerprints collide, or change")
	}
}
