package auth

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
)

// throttled lets three wrong passwords pass, and one more at each minute.
func throttled(o *Options) { o.Failures, o.Window = 3, 3*time.Minute }

// tryFrom is a question from an address, and how it is answered.
func (r *rig) tryFrom(address, user, password string) error {
	_, err := r.Verify(context.Background(), user, secret.New(password), netip.MustParseAddr(address))
	return err
}

const slower = fault.Throttled

// tryAll asks all at once, n times, and counts the answers by kind.
func (r *rig) tryAll(n int, try func(int) error) map[fault.Kind]int {
	var all sync.WaitGroup
	var mu sync.Mutex
	kinds := map[fault.Kind]int{}
	for i := range n {
		all.Go(func() {
			err := try(i)
			mu.Lock()
			defer mu.Unlock()
			r.note(err)
			kinds[kindOf(err)]++
		})
	}
	all.Wait()
	return kinds
}

// TestThrottle: who may still ask after what, and how often the server is asked.
func TestThrottle(t *testing.T) {
	const me = "me@example.com"
	type step struct {
		after          time.Duration
		from, user, pw string
		want           fault.Kind
		dials          int32
	}
	guesses := func(from, user string, n int, want fault.Kind, dials int32) (all []step) {
		for i := range n {
			all = append(all, step{0, from, user, fmt.Sprint("guess", i, len(user)), want, dials})
		}
		return all
	}
	join := func(parts ...[]step) (all []step) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	for name, steps := range map[string][]step{
		"an account from a network, and nobody else": join(
			guesses("192.0.2.1", me, 3, wrong, 1),
			[]step{
				{0, "192.0.2.1", me, "one more", slower, 0},
				{0, "192.0.2.1", me, "guess0", slower, 0}, // whose verdict is remembered
				{0, "192.0.2.1", "you@example.com", "x", wrong, 1},
				{0, "192.0.2.2", me, password, ok, 1},
				{0, "192.0.2.1", me, password, slower, 0},
			}),
		"one more at each share of the window": join(
			guesses("192.0.2.1", me, 3, wrong, 1),
			[]step{
				{time.Minute - 3*refusalStep - time.Nanosecond, "192.0.2.1", me, "x", slower, 0},
				{time.Nanosecond, "192.0.2.1", me, "y", wrong, 1},
				{0, "192.0.2.1", me, "z", slower, 0},
			}),
		"a remembered password passes where it was right before": join(
			[]step{{0, "192.0.2.1", me, password, ok, 1}},
			guesses("192.0.2.1", me, 3, wrong, 1),
			[]step{
				{0, "192.0.2.1", me, "x", slower, 0},
				{0, "192.0.2.1", me, password, ok, 0},
				{0, "192.0.2.9", me, password, ok, 0},
			}),
		"a guesser does not learn which password is remembered": join(
			[]step{{0, "192.0.2.9", me, password, ok, 1}},
			guesses("192.0.2.1", me, 3, wrong, 1),
			[]step{{0, "192.0.2.1", me, password, slower, 0}, {0, "192.0.2.9", me, password, ok, 0}}),
		"a remembered password from there, before": join(
			[]step{{0, "192.0.2.9", me, password, ok, 1}, {0, "192.0.2.1", me, password, ok, 0}},
			guesses("192.0.2.1", me, 3, wrong, 1),
			[]step{{0, "192.0.2.1", me, password, ok, 0}}),
		"a right password takes nothing back": join(
			guesses("192.0.2.1", me, 2, wrong, 1),
			[]step{{0, "192.0.2.1", me, password, ok, 1}, {0, "192.0.2.1", me, "x", wrong, 1}, {0, "192.0.2.1", me, "y", slower, 0}}),
		"the same wrong password counts each time": {
			{0, "192.0.2.1", me, "x", wrong, 1}, {0, "192.0.2.1", me, "x", wrong, 0}, {0, "192.0.2.1", me, "x", wrong, 0},
			{0, "192.0.2.1", me, "x", slower, 0},
		},
		"the first half of an IPv6 address": join(
			guesses("2001:db8:1:2::1", me, 3, wrong, 1),
			[]step{{0, "2001:db8:1:2:ffff::2%eth0", me, "x", slower, 0}, {0, "2001:db8:1:3::1", me, "x", wrong, 1}}),
		"an IPv4 address in IPv6": join(
			guesses("::ffff:192.0.2.1", me, 3, wrong, 1),
			[]step{{0, "192.0.2.1", me, "x", slower, 0}, {0, "::ffff:192.0.2.2", me, "x", wrong, 1}}),
		"an account that does not exist": join(
			guesses("192.0.2.1", "nobody@example.com", 3, wrong, 1),
			[]step{{0, "192.0.2.1", "nobody@example.com", "x", slower, 0}}),
		"a host that does not exist": join(
			guesses("192.0.2.1", "me@other.example", 3, wrong, 0),
			[]step{{0, "192.0.2.1", "me@other.example", "x", slower, 0}}),
		"what cannot be a password": {
			{0, "192.0.2.1", me, "", wrong, 0}, {0, "192.0.2.1", me, "", wrong, 0}, {0, "192.0.2.1", me, "", wrong, 0},
			{0, "192.0.2.1", me, "", slower, 0}, {0, "192.0.2.1", me, "x", slower, 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, DirectTLS, plainServer(always(password), 0), throttled)
				for i, s := range steps {
					time.Sleep(s.after)
					before := r.dials.Load()
					if err := r.tryFrom(s.from, s.user, s.pw); kindOf(err) != s.want || r.dials.Load()-before != s.dials {
						t.Errorf("step %d, %s from %s with %q: %v after %d dials, want %+v", i, s.user, s.from, s.pw, err, r.dials.Load()-before, s)
					}
				}
				r.done()
			})
		})
	}
}

// TestThrottleNetwork: many accounts from one address have ten times as many
// failures in common, and the address next to it has its own.
func TestThrottleNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, DirectTLS, plainServer(always(password), 0), throttled)
		kinds := r.tryAll(100, func(i int) error {
			return r.tryFrom("192.0.2.1", fmt.Sprintf("user%d@example.com", i), "x")
		})
		if diff := cmp.Diff(map[fault.Kind]int{wrong: 30, slower: 70}, kinds); diff != "" {
			t.Error(diff)
		}
		checkKind(t, r.tryFrom("192.0.2.1", "me@example.com", password), slower)
		checkKind(t, r.tryFrom("192.0.2.2", "me@example.com", password), ok)
		r.done()
		if n := r.dials.Load(); n != 31 {
			t.Errorf("%d probes, want 31", n)
		}
		if n := testutil.ToFloat64(r.metrics.throttled.WithLabelValues(byNetwork)); n != 71 {
			t.Errorf("%v counted, want 71", n)
		}
		if n := strings.Count(r.log.String(), `level=WARN msg="too many failed logins" jid=`); n != 1 {
			t.Errorf("%d lines about it, want 1:\n%s", n, r.log)
		}
	})
}

// TestManyAtOnce: a thousand guesses at once are no more than three.
func TestManyAtOnce(t *testing.T) {
	for _, user := range []string{"me@example.com", "nobody@example.com", "me@other.example"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, DirectTLS, plainServer(always(password), 5*time.Millisecond), throttled)
			kinds := r.tryAll(1000, func(i int) error { return r.tryFrom("192.0.2.1", user, fmt.Sprint("guess", i)) })
			r.done()
			if kinds[wrong] != 3 || kinds[slower]+kinds[unavailable] != 997 || r.dials.Load() > 3 {
				t.Errorf("%s: %v after %d probes", user, kinds, r.dials.Load())
			}
		})
	}
}

// TestOneAmongMany: clients of one account behind one address that have the right
// password, at once and with nothing remembered, are no guessers, and neither are
// as many accounts.
func TestOneAmongMany(t *testing.T) {
	for name, test := range map[string]struct {
		user  func(int) string
		dials int32
	}{
		"one account":   {func(int) string { return "me@example.com" }, 1},
		"many accounts": {func(i int) string { return fmt.Sprintf("user%d@example.com", i) }, 500},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, DirectTLS, welcoming(5*time.Millisecond), throttled)
				kinds := r.tryAll(500, func(i int) error { return r.tryFrom("192.0.2.1", test.user(i), password) })
				r.done()
				if kinds[ok] != 500 || r.dials.Load() != test.dials {
					t.Errorf("%v after %d probes", kinds, r.dials.Load())
				}
			})
		})
	}
}

// welcoming accepts everybody with the right password, after a while.
func welcoming(after time.Duration) func(*peer) {
	return func(p *peer) {
		p.encrypt()
		p.open(mechanisms("PLAIN"))
		user, given, _ := strings.Cut(decodeText(p, p.hear(`<auth .*>(.+)</auth>`)[1])[1:], "\x00")
		time.Sleep(after)
		if given != password {
			p.say(failure("not-authorized"))
			p.end()
			return
		}
		p.say("<success " + sasl + "/>")
		p.open(canBind)
		p.hear(bind)
		p.say(strings.Replace(bound, "me@", user+"@", 1))
		p.end()
	}
}

// TestOwnerAmidGuesses: whoever guesses an account's password, from one network or
// from many, its owner is let in from another, and need not wait for long, however
// slow the server is.
func TestOwnerAmidGuesses(t *testing.T) {
	for _, test := range []struct {
		name     string
		networks int
		each     int
		slow     time.Duration
		within   time.Duration
	}{
		{"one network", 1, 1000, 20 * time.Millisecond, 20 * time.Millisecond},
		{"one network, a slow server", 1, 1000, 3 * time.Second, 3 * time.Second},
		{"as many networks as can wait", maxAccountWaiting - 1, 4, 20 * time.Millisecond, 8 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, DirectTLS, func(p *peer) {
					p.encrypt()
					p.listen()
					p.try(header + features(mechanisms("PLAIN")))
					right := strings.Contains(p.listen(), ">"+encode("\x00me\x00"+password)+"<")
					if time.Sleep(test.slow); right {
						p.succeed("")
					} else {
						p.try(failure("not-authorized"))
					}
					p.listen()
				}, throttled)
				ctx, stop := context.WithCancel(t.Context())
				var guessing sync.WaitGroup
				for n := range test.networks * test.each {
					guessing.Go(func() {
						for i := 0; ctx.Err() == nil; i++ {
							from := netip.AddrFrom4([4]byte{10, 0, 0, byte(n % test.networks)})
							_, err := r.Verify(ctx, "me@example.com", secret.New(fmt.Sprint("guess", n, i)), from)
							if err == nil {
								t.Error("a guess was right")
							}
							time.Sleep(time.Second)
						}
					})
				}
				synctest.Wait()
				for range 3 {
					time.Sleep(time.Second)
					began := time.Now()
					if err := r.tryFrom("192.0.2.9", "me@example.com", password); err != nil || time.Since(began) > test.within {
						t.Errorf("the owner was answered after %v: %v", time.Since(began), err)
					}
					r.forget()
				}
				stop()
				guessing.Wait()
				time.Sleep(probeTimeout) // until the last guess has been answered
				r.done()
			})
		})
	}
}

// listen reads what is said, if anything: one who had to wait for long may have no
// time left to say it.
func (p *peer) listen() string {
	buffer := make([]byte, 1<<16)
	n, _ := p.conn.Read(buffer)
	return string(buffer[:n])
}

// forget empties the cache, so that the server is asked again.
func (r *rig) forget() {
	r.cache.mu.Lock()
	defer r.cache.mu.Unlock()
	clear(r.cache.good.entries)
}

// TestOutage: while nobody can be asked, who tries the same again is no guesser,
// one who tries others is, and a remembered password is let through.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOutdoors(t, throttled)
		w.try("before", fine(password), password, ok, 1)
		time.Sleep(10 * time.Minute)
		w.weather = refused
		for i := range 20 {
			checkKind(t, w.tryFrom("192.0.2.1", "you@example.com", "theirs"), unavailable)
			want := unavailable
			if i >= 3 {
				want = slower
			}
			checkKind(t, w.tryFrom("192.0.2.2", "you@example.com", fmt.Sprint("guess", i)), want)
			checkKind(t, w.tryFrom("192.0.2.3", "me@example.com", fmt.Sprint("guess", i)), want)
			checkKind(t, w.verify(password), ok)
		}
		checkKind(t, w.tryFrom("192.0.2.3", "me@example.com", password), slower)
		checkKind(t, w.tryFrom("192.0.2.4", "me@example.com", password), ok)
		w.done()
	})
}

func checkKind(t *testing.T, err error, want fault.Kind) {
	t.Helper()
	if kindOf(err) != want {
		t.Errorf("%v, want kind %v", err, want)
	}
}

// TestReservedTurns: wrong passwords from one network take one of an account's
// turns, and never all of the host's.
func TestReservedTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running atomic.Int32
		r := newRig(t, DirectTLS, func(p *peer) {
			running.Add(1)
			defer running.Add(-1)
			plainServer(always(password), time.Second)(p)
		}, func(o *Options) { o.Failures, o.Window = 100, time.Hour })
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				checkKind(t, r.tryFrom("192.0.2.1", fmt.Sprintf("user%d@example.com", i%20), fmt.Sprint("guess", i)), wrong)
			})
		}
		synctest.Wait()
		if n := running.Load(); n != maxProbes-reservedProbes {
			t.Errorf("%d probes from one network, want %d", n, maxProbes-reservedProbes)
		}
		for i := range 3 {
			all.Go(func() {
				checkKind(t, r.tryFrom(fmt.Sprintf("192.0.2.%d", i+2), "user0@example.com", fmt.Sprint("else", i)), wrong)
			})
		}
		synctest.Wait()
		if n := running.Load(); n != maxProbes-reservedProbes+1 {
			t.Errorf("%d probes, want one more for the account", n)
		}
		all.Wait()
		r.done()
	})
}

// TestWait: Retry-After is when one more guess is let through.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, DirectTLS, plainServer(always(password), 0), throttled)
		r.tryAll(3, func(i int) error { return r.tryFrom("192.0.2.1", "me@example.com", fmt.Sprint("guess", i)) })
		began := time.Now()
		err := r.tryFrom("192.0.2.1", "me@example.com", "x")
		if time.Since(began) != 0 || kindOf(err) != slower {
			t.Errorf("answered %v after %v", err, time.Since(began))
		}
		time.Sleep(fault.Of(err).Wait - 1)
		checkKind(t, r.tryFrom("192.0.2.1", "me@example.com", "x"), slower)
		time.Sleep(time.Nanosecond)
		checkKind(t, r.tryFrom("192.0.2.1", "me@example.com", "x"), wrong)
		r.done()
	})
}

// TestStaleOwner: who was let in lately from an address at which somebody guesses
// by now is asked about all the same.
func TestStaleOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOutdoors(t, throttled)
		w.weather = fine(password)
		checkKind(t, w.tryFrom("192.0.2.1", "me@example.com", password), ok)
		time.Sleep(10 * time.Minute)
		for i := range 4 {
			want := wrong
			if i == 3 {
				want = slower
			}
			checkKind(t, w.tryFrom("192.0.2.1", "me@example.com", fmt.Sprint("guess", i)), want)
		}
		before := w.dials.Load()
		checkKind(t, w.tryFrom("192.0.2.1", "me@example.com", password), ok)
		if n := w.dials.Load() - before; n != 1 {
			t.Errorf("%d probes, want 1", n)
		}
		w.done()
	})
}

// TestRefusedByNetworkCountsNothing: what was not asked is no failure of the
// account's.
func TestRefusedByNetworkCountsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, DirectTLS, plainServer(always(password), 0), throttled)
		here := networkOf(netip.MustParseAddr("192.0.2.1"))
		for i := range 3 * networkFactor {
			if err := r.throttle.take(message.JID(fmt.Sprintf("user%d@example.com", i)), here); err != nil {
				t.Fatal(err)
			}
		}
		for range 10 {
			if err := r.throttle.take("me@example.com", here); err == nil {
				t.Fatal("the network is not full")
			}
		}
		if n := r.throttle.pairs.Used(pair{"me@example.com", here}); n != 0 {
			t.Errorf("%d failures are counted", n)
		}
		r.done()
	})
}

// TestHomes: a password is at home where it was right, in the last few networks,
// and another one is not.
func TestHomes(t *testing.T) {
	c := newCache(time.Minute, time.Hour, time.Minute, 10)
	old, young := c.mac("me@example.com", secret.New("old")), c.mac("me@example.com", secret.New("young"))
	at := func(n int) network { return networkOf(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})) }
	homes := func(mac fingerprint) (all []int) {
		for n := range 10 {
			if _, home := c.look("me@example.com", mac, at(n)); home {
				all = append(all, n)
			}
		}
		return all
	}
	for step, test := range []struct {
		mac        fingerprint
		from       int // negative: none
		old, young []int
	}{
		{old, -1, nil, nil},
		{old, 1, []int{1}, nil},
		{old, 1, []int{1}, nil},
		{young, 9, []int{1}, nil}, // which was never right
		{old, 2, []int{1, 2}, nil},
		{old, 3, []int{1, 2, 3}, nil},
		{old, 4, []int{1, 2, 3, 4}, nil},
		{old, 5, []int{2, 3, 4, 5}, nil},
		{old, -1, []int{2, 3, 4, 5}, nil},
		{young, -1, nil, nil},
		{young, 6, nil, []int{6}},
	} {
		if test.from >= 0 {
			c.settle("me@example.com", test.mac, at(test.from))
		} else {
			c.put("me@example.com", test.mac, good)
		}
		if diff := cmp.Diff([][]int{test.old, test.young}, [][]int{homes(old), homes(young)}); diff != "" {
			t.Errorf("step %d: %s", step, diff)
		}
	}
}

// TestOwnMachine: clients by a socket without addresses are one network, whose log
// lines have no address.
func TestOwnMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, DirectTLS, plainServer(always(password), 0), throttled)
		for i := range 4 {
			want := wrong
			if i == 3 {
				want = slower
			}
			checkKind(t, r.verify(fmt.Sprint("guess", i)), want)
		}
		r.done()
		if !strings.Contains(r.log.String(), `msg="login failed" jid=me@example.com addr=unix`+"\n") {
			t.Error(r.log)
		}
	})
}
