package lease

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"posthorn/internal/fault"
)

// becomes waits until those and no others may write, and gives how long that took. More
// than one at once is always wrong.
func (w *world) becomes(names string, atMost time.Duration) (took time.Duration) {
	w.t.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		synctest.Wait()
		took = time.Since(began)
		switch got := w.holders(); {
		case got == names:
			return took
		case len(got) > 1:
			w.t.Fatalf("%s may write at once", got)
		case took > atMost:
			w.t.Fatalf("after %v %q may write, want %q", took, got, names)
		}
	}
}

// stays watches for that long that those and no others may write.
func (w *world) stays(names string, long time.Duration) {
	w.t.Helper()
	for began := time.Now(); time.Since(began) < long; time.Sleep(10 * time.Millisecond) {
		if got := w.holders(); got != names {
			w.t.Fatalf("after %v %q may write, want %q", time.Since(began), got, names)
		}
	}
}

// TestTakeover: the first one has the stream until something happens to it, and then the
// second one.
func TestTakeover(t *testing.T) {
	const told = 50 * time.Millisecond
	for name, test := range map[string]struct {
		happens         func(w *world, a *posthorn)
		soonest, latest time.Duration
	}{
		"it dies": {
			happens: func(_ *world, a *posthorn) { a.freeze() },
			soonest: life - renewEvery, latest: life + told,
		},
		"it is ended": {
			happens: func(_ *world, a *posthorn) { a.end() },
			latest:  told,
		},
		"it is ended, and nobody is told": {
			happens: func(w *world, a *posthorn) { w.deaf.Store(true); a.end() },
			latest:  lookEvery * 5 / 4,
		},
		"it is ended, and its component takes its time": {
			happens: func(_ *world, a *posthorn) { a.be(trouble{linger: 2 * time.Second}); a.end() },
			soonest: 2 * time.Second, latest: 2*time.Second + told,
		},
		"it is ended, and its component does not return": {
			happens: func(_ *world, a *posthorn) { a.be(trouble{linger: time.Hour}); a.end() },
			soonest: life - renewEvery, latest: life + told,
		},
		"its component returns": {
			happens: func(_ *world, a *posthorn) { a.quit() },
			latest:  told,
		},
		"it does not hear the database": {
			happens: func(_ *world, a *posthorn) { a.be(trouble{silent: true}) },
			soonest: life - renewEvery, latest: life + told,
		},
		"the database fails for it": {
			happens: func(_ *world, a *posthorn) { a.be(trouble{fails: errFull}) },
			soonest: life - renewEvery, latest: life + told,
		},
		"the database's answers come too late": {
			happens: func(_ *world, a *posthorn) {
				a.be(trouble{delay: func() time.Duration { return 3 * time.Second }})
			},
			soonest: life - renewEvery, latest: life + told,
		},
		"the database's answers are slow, and then there are none": {
			happens: func(_ *world, a *posthorn) {
				ways := 0
				a.be(trouble{delay: func() time.Duration { ways++; return time.Duration(1-ways%2) * 1800 * time.Millisecond }})
				time.Sleep(20 * time.Second)
				a.be(trouble{silent: true})
			},
			soonest: life - 1800*time.Millisecond, latest: life + told,
		},
		"it cannot reach the XMPP server": {
			happens: func(_ *world, a *posthorn) { a.be(trouble{cut: true}) },
			soonest: cutAfter, latest: cutAfter + told,
		},
		"the XMPP server refuses it": {
			happens: func(_ *world, a *posthorn) { a.be(trouble{refused: true}) },
			soonest: cutAfter, latest: cutAfter + told,
		},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, 2, func(t *testing.T, w *world) {
				a, b := w.posthorns[0], w.posthorns[1]
				w.stays("a", 10*time.Second)
				test.happens(w, a)
				if took := w.becomes("b", test.latest); took < test.soonest {
					t.Errorf("taken over after %v, want %v at least", took, test.soonest)
				}
				if b.Term() != 2 {
					t.Errorf("its term is %d, want 2", b.Term())
				}
				w.stays("b", 20*time.Second)
			})
		})
	}
}

// TestKept: what does not cost the first one the stream.
func TestKept(t *testing.T) {
	for name, test := range map[string]struct {
		trouble trouble
		lasts   time.Duration
		of      int
	}{
		"nothing":                               {},
		"the database is slow":                  {trouble{delay: func() time.Duration { return 900 * time.Millisecond }}, time.Minute, 0},
		"the database fails for a while":        {trouble{fails: errFull}, life - renewEvery - 2*margin, 0},
		"the database is silent for a while":    {trouble{silent: true}, 1400 * time.Millisecond, 0},
		"the XMPP server is started again":      {trouble{cut: true}, cutAfter - margin, 0},
		"it is stopped for a moment":            {trouble{frozen: make(chan struct{})}, 2 * time.Second, 0},
		"another does not hear the database":    {trouble{silent: true}, time.Minute, 1},
		"another cannot reach the XMPP server":  {trouble{cut: true}, time.Minute, 1},
		"another is stopped, and goes on after": {trouble{frozen: make(chan struct{})}, time.Minute, 1},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, 2, func(t *testing.T, w *world) {
				w.stays("a", 10*time.Second)
				if test.trouble.frozen != nil { // channels belong to their bubble
					test.trouble.frozen = make(chan struct{})
				}
				w.posthorns[test.of].be(test.trouble)
				time.Sleep(test.lasts)
				w.posthorns[test.of].be(trouble{})
				w.stays("a", time.Minute)
				if a := w.posthorns[0]; a.Term() != 1 || a.runs.Load() != 1 {
					t.Errorf("term is %d, and the component was run %d times, want 1 and once", a.Term(), a.runs.Load())
				}
			})
		})
	}
}

// TestStopped: who was stopped for half a minute (SIGSTOP) may not write at the first
// question after it, and gets the stream again when it is its turn.
func TestStopped(t *testing.T) {
	within(t, 2, func(t *testing.T, w *world) {
		for i := range 5 {
			holder, other := w.posthorns[i%2], w.posthorns[(i+1)%2]
			w.stays(holder.name, 10*time.Second)
			holder.freeze()
			time.Sleep(30 * time.Second)
			holder.be(trouble{})
			if holder.Held() || holder.Term() != 0 {
				t.Fatal("it may write")
			}
			w.stays(other.name, time.Second)
		}
	})
}

// TestStoppedAlone: nobody has taken it meanwhile, but it is not the same lease.
func TestStoppedAlone(t *testing.T) {
	within(t, 1, func(t *testing.T, w *world) {
		a := w.posthorns[0]
		w.stays("a", 10*time.Second)
		a.freeze()
		time.Sleep(30 * time.Second)
		a.be(trouble{linger: 3 * time.Second})
		if a.Held() {
			t.Fatal("it may write")
		}
		w.stays("", 3*time.Second) // until the component has returned
		w.becomes("a", time.Second)
		if a.Term() != 2 {
			t.Errorf("term is %d, want 2", a.Term())
		}
		wantLog(t, a, `
level=INFO msg="this posthorn has the stream now"
level=WARN msg="this posthorn has lost the stream" reason="lease: this process stood still for longer than it holds"
level=INFO msg="this posthorn has the stream now"
`)
	})
}

func wantLog(t *testing.T, p *posthorn, want string) {
	t.Helper()
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), p.log.String()); diff != "" {
		t.Errorf("the log of %s (-want +got):\n%s", p.name, diff)
	}
}

// TestDatabaseAway: nobody has the stream while the database is away for all of them,
// and one has it soon after.
func TestDatabaseAway(t *testing.T) {
	within(t, 3, func(t *testing.T, w *world) {
		w.stays("a", 10*time.Second)
		for _, p := range w.posthorns {
			p.be(trouble{fails: errFull})
		}
		w.becomes("", life)
		w.stays("", 2*time.Minute)
		for _, p := range w.posthorns {
			p.be(trouble{})
		}
		time.Sleep(lookEvery * 5 / 4)
		if got := w.holders(); len(got) != 1 {
			t.Fatalf("%q may write", got)
		}
		b := w.posthorns[1].log.String()
		if n := strings.Count(b, "will try again"); n != 3 {
			t.Errorf("in two minutes %d lines say that the database fails, want 3:\n%s", n, b)
		}
	})
}

// taking is a database that needs that long to answer the first who takes the lease.
func taking(long time.Duration) trouble {
	ways := 0
	return trouble{delay: func() time.Duration {
		if ways++; ways == 4 { // to read and back, to take and back
			return long
		}
		return 0
	}}
}

// TestAnswerLost: the database has given somebody the lease, who was not told so.
func TestAnswerLost(t *testing.T) {
	within(t, 0, func(t *testing.T, w *world) {
		a := w.add("a", taking(time.Hour), 0)
		w.becomes("a", patience+lookEvery*5/4+retryAfter)
		if a.Term() != 2 {
			t.Errorf("term is %d, want 2", a.Term())
		}
		w.stays("a", time.Minute)
	})
}

// TestAnswerSlow: a lease ends by when it was asked for, and not by when it was got.
func TestAnswerSlow(t *testing.T) {
	within(t, 0, func(t *testing.T, w *world) {
		a := w.add("a", taking(patience-margin), 0)
		w.add("b", trouble{}, 0)
		w.becomes("a", patience)
		a.be(trouble{silent: true})
		w.becomes("b", life-patience+2*margin)
	})
}

// TestTurns: while the XMPP server is away, posthorns take turns, and do not fill the log
// with that. Then one of them has it.
func TestTurns(t *testing.T) {
	for _, posthorns := range []int{1, 2, 3} {
		t.Run(fmt.Sprint(posthorns), func(t *testing.T) {
			within(t, posthorns, func(t *testing.T, w *world) {
				w.stays("a", 10*time.Second)
				for _, p := range w.posthorns {
					p.be(trouble{cut: true})
				}
				time.Sleep(10 * time.Minute)
				for _, p := range w.posthorns {
					if n := p.runs.Load(); n < 20 { // 50 in the mean, where there are three
						t.Errorf("%s has tried %d times in ten minutes, want 20 at least", p.name, n)
					}
					if n := strings.Count(p.log.String(), "\n"); n > 12 {
						t.Errorf("%d lines in ten minutes:\n%s", n, p.log)
					}
				}
				for _, p := range w.posthorns {
					p.be(trouble{})
				}
				time.Sleep(standBack + lookEvery + time.Second)
				holder := w.holders()
				w.stays(holder, time.Minute)
				for _, p := range w.posthorns {
					if has := strings.HasSuffix(p.log.String(), "msg=\"this posthorn has the stream now\"\n"); p.name == holder && !has {
						t.Errorf("%s has it, and its log does not say so:\n%s", holder, p.log)
					}
				}
			})
		})
	}
}

// TestStream: everybody knows what the holder's stream is like.
func TestStream(t *testing.T) {
	within(t, 2, func(t *testing.T, w *world) {
		a, b := w.posthorns[0], w.posthorns[1]
		want := func(of, seen string) {
			t.Helper()
			time.Sleep(20 * time.Millisecond)
			if a.Stream() != of || b.Stream() != seen {
				t.Fatalf("%s and seen as %s, want %s and %s", a.Stream(), b.Stream(), of, seen)
			}
		}
		want(down, down)
		time.Sleep(time.Second)
		want(up, up)
		a.be(trouble{cut: true})
		want(down, down)
		a.be(trouble{refused: true})
		want("refused", "refused")
		a.be(trouble{})
		want(up, up)
		b.be(trouble{silent: true})
		time.Sleep(life)
		want(up, down)
		b.be(trouble{})
		time.Sleep(patience + lookEvery*5/4)
		want(up, up)
		a.freeze()
		w.becomes("b", life)
		if got := b.Stream(); got != down {
			t.Fatalf("%s, although it has just begun", got)
		}
		a.be(trouble{})
		want(down, down)
		time.Sleep(time.Second)
		want(up, up)
	})
}

// TestClockSet: when the database's clock is set, two may believe to have the lease, but
// no longer than until the first is told.
func TestClockSet(t *testing.T) {
	within(t, 2, func(t *testing.T, w *world) {
		a, b := w.posthorns[0], w.posthorns[1]
		w.stays("a", 10*time.Second)
		w.mu.Lock()
		w.jump = time.Hour
		w.mu.Unlock()
		b.Nudge() // before a renews it
		synctest.Wait()
		if !a.Held() || b.Term() != 2 {
			t.Errorf("%q may write, want both", w.holders())
		}
		time.Sleep(10 * time.Millisecond)
		w.stays("b", 10*time.Second)
		w.behind.Store(0) // it is for the terms to make that harmless
		wantLog(t, a, `
level=INFO msg="this posthorn has the stream now"
level=WARN msg="this posthorn has lost the stream" reason="lease: another posthorn has taken it"
`)
	})
}

// TestLog: names who had it, and why it was lost.
func TestLog(t *testing.T) {
	within(t, 2, func(t *testing.T, w *world) {
		a, b := w.posthorns[0], w.posthorns[1]
		w.stays("a", 10*time.Second)
		a.be(trouble{fails: fault.Wrap(errFull, fault.Unavailable, "see the log")})
		w.becomes("b", life+time.Second)
		a.be(trouble{})
		time.Sleep(time.Minute)
		b.be(trouble{cut: true})
		w.becomes("a", cutAfter+time.Second)
		wantLog(t, a, `
level=INFO msg="this posthorn has the stream now"
level=WARN msg="this posthorn has lost the stream" reason="lease: renew: store: the disk is full"
level=WARN msg="who has the stream cannot be found out, will try again" err="lease: read: store: the disk is full"
level=INFO msg="this posthorn has the stream now"
`)
		wantLog(t, b, `
level=WARN msg="this posthorn has the stream now" reason="posthorn a had it and was not heard of for 5s"
level=WARN msg="no stream to the XMPP server, another posthorn may try" reason=down
`)
	})
}

// TestLogAfterTurns: who had left the lease to another, and later has it because that one has
// died, says so once.
func TestLogAfterTurns(t *testing.T) {
	within(t, 2, func(t *testing.T, w *world) {
		a, b := w.posthorns[0], w.posthorns[1]
		w.stays("a", 10*time.Second)
		a.be(trouble{cut: true})
		w.becomes("b", cutAfter+time.Second)
		a.be(trouble{})
		w.stays("b", time.Minute)
		b.be(trouble{silent: true})
		w.becomes("a", life+time.Second)
		w.stays("a", time.Minute)
		wantLog(t, a, `
level=INFO msg="this posthorn has the stream now"
level=WARN msg="no stream to the XMPP server, another posthorn may try" reason=down
level=WARN msg="this posthorn has the stream now" reason="posthorn b had it and was not heard of for 5s"
`)
	})
}

// TestLogOfKnown: that the database fails is not said where that was said already.
func TestLogOfKnown(t *testing.T) {
	within(t, 2, func(t *testing.T, w *world) {
		a := w.posthorns[0]
		a.Lease.opts.Known = func() bool { return true }
		w.stays("a", 10*time.Second)
		a.be(trouble{fails: errFull})
		w.becomes("b", life+time.Second)
		w.stays("b", time.Minute)
		wantLog(t, a, `
level=INFO msg="this posthorn has the stream now"
level=WARN msg="this posthorn has lost the stream" reason="lease: renew: store: the disk is full"
`)
	})
}

// TestMetrics: what an operator can see of it.
func TestMetrics(t *testing.T) {
	within(t, 2, func(t *testing.T, w *world) {
		w.stays("a", 10*time.Second)
		w.posthorns[0].be(trouble{silent: true})
		w.becomes("b", life+time.Second)
		for i, want := range []string{"0 1 1", "1 1 0"} {
			p := w.posthorns[i]
			held := 0
			if p.Held() {
				held = 1
			}
			if got := fmt.Sprint(held, testutil.ToFloat64(p.takes), testutil.ToFloat64(p.losses)); got != want {
				t.Errorf("%s: held, takeovers and losses are %s, want %s", p.name, got, want)
			}
		}
	})
}

// TestSystemClock: it runs.
func TestSystemClock(t *testing.T) {
	clock := systemClock()
	before, began := clock(), time.Now()
	for time.Since(began) < time.Millisecond {
	}
	if passed := clock() - before; before <= 0 || passed < time.Millisecond {
		t.Errorf("%v have passed since %v, want 1ms at least", passed, before)
	}
}

// BenchmarkHeld: what each write to the stream is asked before.
func BenchmarkHeld(b *testing.B) {
	l := New(Options{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()}, nil)
	l.grant.Store(&grant{term: 1, until: 1 << 62})
	b.ReportAllocs()
	for b.Loop() {
		if !l.Held() {
			b.Fatal("not held")
		}
	}
}
