package lease

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// takeover is how long it may take from when a posthorn cannot send any more until
// another one does.
const takeover = 10 * time.Second

// TestOneInTrouble: of three posthorns one at a time gets into trouble, by chance. There
// are never two that may write, and soon there is one that does.
func TestOneInTrouble(t *testing.T) {
	chance(t, func(w *world) {
		for range 30 {
			i := rand.IntN(3)
			w.meet(i)
			w.promise(time.Now())
			time.Sleep(rand.N(40 * time.Second))
			w.posthorns[i].be(trouble{})
			time.Sleep(rand.N(15 * time.Second))
		}
	})
}

// TestAllInTrouble: any of them is in any trouble at any time. There are never two that
// may write, and one that does soon after all is well.
func TestAllInTrouble(t *testing.T) {
	chance(t, func(w *world) {
		for range 5 {
			w.promise(time.Time{})
			for range 20 {
				w.meet(rand.IntN(3))
				time.Sleep(rand.N(4 * time.Second))
				w.posthorns[rand.IntN(3)].be(trouble{})
			}
			for _, p := range w.posthorns {
				p.be(trouble{})
			}
			w.promise(time.Now())
			time.Sleep(2 * takeover)
		}
	})
}

// chance runs f some times, in a world whose clocks go as clocks may, and watches it.
func chance(t *testing.T, f func(w *world)) {
	for i := range 6 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			within(t, 0, func(_ *testing.T, w *world) {
				w.drift = anyDrift()
				w.deaf.Store(i%3 == 0)
				for _, name := range []string{"a", "b", "c"} {
					w.add(name, trouble{}, anyDrift())
				}
				ended, done := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(done)
					w.watch(ended)
				}()
				f(w)
				close(ended)
				<-done
			})
		})
	}
}

// anyDrift is by how much a clock is too fast, 1 % at most. Those of machines that have
// none better than their quartz are a hundred times as good.
func anyDrift() float64 { return (rand.Float64() - 0.5) / 50 }

// meet puts a posthorn into some trouble.
func (w *world) meet(i int) {
	is := trouble{late: rand.IntN(2) == 0, linger: rand.N(6*time.Second) * time.Duration(rand.IntN(2))}
	switch what := rand.IntN(7); what {
	case 0:
		is.frozen = make(chan struct{})
	case 1:
		is.silent = true
	case 2:
		is.fails = errFull
	case 3:
		is.cut = true
	case 4:
		is.refused = true
	case 5:
		longest := rand.N(8*time.Second) + 1
		is.delay = func() time.Duration { return rand.N(longest) }
	case 6:
		w.replace(i)
	}
	w.posthorns[i].be(is)
	w.t.Logf("%v: %s is in %+v", time.Since(w.began), w.posthorns[i].name, is)
}

// replace ends a posthorn, and starts another in its place, which has another name.
func (w *world) replace(i int) {
	p := w.posthorns[i]
	p.be(trouble{})
	p.end()
	<-p.done
	next := w.begin(p.name+"'", trouble{}, p.drift)
	w.mu.Lock()
	w.posthorns[i] = next
	w.mu.Unlock()
}

// promise says since when there has been no new trouble; zero: there is more to come.
func (w *world) promise(since time.Time) {
	w.mu.Lock()
	w.quiet = since
	w.mu.Unlock()
}

// watch looks all the time whether one at most may write, and whether one that may is
// connected too, at the latest some time after the last trouble.
func (w *world) watch(ended chan struct{}) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	sent := time.Now()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		holders := w.held()
		if len(holders) > 1 {
			w.t.Errorf("%v: %s and %s may write at once", time.Since(w.began), holders[0].name, holders[1].name)
		}
		w.mu.Lock()
		quiet := w.quiet
		w.mu.Unlock()
		if quiet.After(sent) {
			sent = quiet
		}
		if quiet.IsZero() || len(holders) == 1 && holders[0].stream() == up {
			sent = time.Now()
		}
		if silent := time.Since(sent); silent > takeover {
			w.t.Errorf("%v: nobody has sent for %v", time.Since(w.began), silent)
			sent = time.Now()
		}
	}
}
