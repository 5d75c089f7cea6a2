package main

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"
)

// countEvery is how often others are told how many messages there were.
const countEvery = time.Second

// counts are the messages of which others were not told yet. Each posthorn of those that
// share a database counts those of all, so that the page shows the same whoever answers.
type counts struct{ sent, failed atomic.Int64 }

// A newCount is what others are told.
type newCount struct {
	Sent   int `json:"sent,omitempty"`
	Failed int `json:"failed,omitempty"`
}

func (c *counts) add(sent, failed int) {
	c.sent.Add(int64(sent))
	c.failed.Add(int64(failed))
}

// tellOthers tells what there is, until ctx ends.
func (c *counts) tellOthers(ctx context.Context, tell func(topic, text string) error) {
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done(): // and then the last
		}
		if now := (newCount{int(c.sent.Swap(0)), int(c.failed.Swap(0))}); now != (newCount{}) {
			text, _ := json.Marshal(now) // never fails
			_ = tell(countTopic, string(text))
		}
	}
}
