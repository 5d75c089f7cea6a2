package store

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"posthorn/internal/message"
	"posthorn/internal/secret"
)

// BenchmarkPut is what it costs to keep a message of 500 bytes, on disk when Put
// returns, for one sender at a time and for many at once.
func BenchmarkPut(b *testing.B) {
	for _, producers := range []int{1, 16, 128} {
		b.Run(fmt.Sprint("producers=", producers), func(b *testing.B) { benchmarkPut(b, b.TempDir()+"/a.db", producers) })
		b.Run(fmt.Sprint("postgres/producers=", producers), func(b *testing.B) { benchmarkPut(b, schema(b), producers) })
	}
}

// BenchmarkCycle is what it costs to keep, claim and settle a message, for one instance
// that does all of it, and for one that settles what another has kept.
func BenchmarkCycle(b *testing.B) {
	for _, producers := range []int{1, 16, 128} {
		b.Run(fmt.Sprint("alone/producers=", producers), func(b *testing.B) { benchmarkCycle(b, 1, producers) })
		b.Run(fmt.Sprint("two/producers=", producers), func(b *testing.B) { benchmarkCycle(b, 2, producers) })
	}
}

func benchmarkCycle(b *testing.B, instances, producers int) {
	at := schema(b)
	l := newLines()
	leader, _ := runningWith(b, Options{URL: secret.New(at), Name: "leader", Arrived: func(sender message.JID, _ int64) { l.look(sender) }})
	accepts := leader
	if instances > 1 {
		accepts, _ = instance(b, at, "other")
	}
	if _, taken, err := leader.TakeLease(b.Context(), "leader", time.Hour); err != nil || !taken {
		b.Fatal(err)
	}
	var settling sync.WaitGroup
	settling.Go(func() { l.settleAll(b, leader) })
	var last atomic.Int64
	began := time.Now()
	inParallel(b, producers, func() {
		r := []message.Record{benchRecord(last.Add(1))}
		if _, err := accepts.Put(b.Context(), r, func() {}); err != nil {
			b.Error(err)
		}
		if accepts == leader {
			l.look(r[0].From)
		}
	})
	eventually(b, "all is settled", func() bool {
		left, err := leader.Select(b.Context(), message.Query{Open: true, Limit: 1})
		return err == nil && len(left) == 0
	})
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "settled/s")
	close(l.due)
	settling.Wait()
}

// lines are those of the senders of benchRecord that are to be looked at.
type lines struct {
	due chan message.JID
	is  sync.Map // of senders that are in due
}

func newLines() *lines { return &lines{due: make(chan message.JID, 100)} }

func (l *lines) look(sender message.JID) {
	if _, due := l.is.LoadOrStore(sender, true); !due {
		l.due <- sender
	}
}

// settleAll claims and settles what is in line, until due is closed.
func (l *lines) settleAll(b *testing.B, s *Store) {
	for sender := range l.due {
		turn := []message.Line{{From: sender}}
		for len(l.due) > 0 {
			turn = append(turn, message.Line{From: <-l.due})
		}
		for _, line := range turn {
			l.is.Delete(line.From)
		}
		records, more, err := s.Claim(b.Context(), 1, turn, 128)
		if err != nil {
			b.Error(err)
		}
		var changes []message.Change
		for i := range records {
			if more[i] {
				l.look(turn[i].From)
			}
			for _, r := range records[i] {
				changes = append(changes, message.Change{Before: message.Queued, Record: in(r, message.State(message.Delivered), time.Now().UnixNano()), Under: 1})
			}
		}
		if len(changes) > 0 {
			settle(b, s, changes...)
		}
	}
}

func benchmarkPut(b *testing.B, at string, producers int) {
	s, _ := running(b, at)
	var last atomic.Int64
	last.Store(time.Now().UnixNano())
	put := func() {
		seq := last.Add(1)
		if _, err := s.Put(b.Context(), []message.Record{benchRecord(seq)}, func() {}); err != nil {
			b.Error(err)
		}
	}
	inParallel(b, producers, put)
}

func benchRecord(seq int64) message.Record {
	r := record(seq, message.JID(fmt.Sprint("user", seq%100, "@example.com")), "you@example.com", strings.Repeat("x", 500))
	r.ID = fmt.Sprintf("%016x", uint64(seq)*0x9E3779B97F4A7C15) // as random as ids are
	return r
}

// inParallel calls do b.N times, from so many goroutines.
func inParallel(b *testing.B, goroutines int, do func()) {
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan struct{})
	b.ResetTimer()
	for range goroutines {
		go func() {
			for left.Add(-1) >= 0 {
				do()
			}
			done <- struct{}{}
		}()
	}
	for range goroutines {
		<-done
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
}

// BenchmarkArrived is how long it takes from the commit of a message until another
// instance hears of it.
func BenchmarkArrived(b *testing.B) {
	at := schema(b)
	one, _ := instance(b, at, "one")
	heard := make(chan time.Time, 1)
	_, _ = runningWith(b, Options{URL: secret.New(at), Name: "two", Arrived: func(message.JID, int64) { heard <- time.Now() }})
	eventually(b, "it listens", func() bool {
		mustPut(b, one, benchRecord(1))
		select {
		case <-heard:
			return true
		default:
			return false
		}
	})
	var took time.Duration
	for b.Loop() {
		mustPut(b, one, benchRecord(1))
		committed := time.Now()
		took += max(0, (<-heard).Sub(committed))
	}
	b.ReportMetric(float64(took.Microseconds())/float64(b.N), "µs/notification")
}
