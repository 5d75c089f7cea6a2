package main

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestCounts: others are told once a second, if there is something, and of the last too.
func TestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c counts
		var told []string
		ctx, stop := context.WithCancel(t.Context())
		var telling sync.WaitGroup
		telling.Go(func() {
			c.tellOthers(ctx, func(topic, text string) error { told = append(told, topic+text); return nil })
		})
		c.add(2, 1)
		c.add(1, 0)
		time.Sleep(5*countEvery + 1)
		c.add(0, 7)
		stop()
		telling.Wait()
		if want := []string{`count{"sent":3,"failed":1}`, `count{"failed":7}`}; !slices.Equal(told, want) {
			t.Errorf("told were %q, want %q", told, want)
		}
	})
}
