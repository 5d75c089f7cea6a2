package store

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"posthorn/internal/message"
)

// BenchmarkPut is what it costs to keep a message of 500 bytes, on disk when Put
// returns, for one sender at a time and for many at once.
func BenchmarkPut(b *testing.B) {
	for _, producers := range []int{1, 16, 128} {
		b.Run(fmt.Sprint("producers=", producers), func(b *testing.B) { benchmarkPut(b, b.TempDir()+"/a.db", producers) })
		b.Run(fmt.Sprint("postgres/producers=", producers), func(b *testing.B) { benchmarkPut(b, schema(b), producers) })
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
