package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"posthorn/internal/message"
)

// others are the instances that have the same database. They are told what this one has
// written, by notifications of the database (NOTIFY), soon after it is committed: who
// notifies in a transaction keeps all others from doing so until it is on disk. What waits
// meanwhile goes together.
type others struct {
	name   string        // of this instance
	wake   chan struct{} // there is something to be told; capacity 1, a mark
	missed atomic.Bool   // others may have told what this one has not heard

	mu    sync.Mutex
	waits news // guarded by mu
}

// news are what is told at once.
type news struct {
	From    string                `json:"from"`
	Arrived map[message.JID]int64 `json:"arrived,omitempty"` // the first Seq of each sender
	Settled []int64               `json:"settled,omitempty"`
	Told    []told                `json:"told,omitempty"`
	Missed  bool                  `json:"missed,omitempty"` // there was more than could be told
}

type told struct {
	Topic string `json:"topic"`
	Text  string `json:"text"`
}

func newOthers(opts Options) *others {
	name := opts.Name
	if name == "" {
		name = rand.Text()
	}
	return &others{name: name, wake: make(chan struct{}, 1)}
}

const (
	// maxTold bounds the text of Tell, in bytes.
	maxTold = 4000
	// maxPieces bounds what a notification holds beside its frame, in bytes: PostgreSQL
	// takes less than 8000.
	maxPieces = 7500
	// Bounds of what waits to be told, of which a notification takes some 200, 700 and 1.
	maxArrived, maxSettled, maxTexts = 1000, 20_000, 200
	// tellLimit bounds one try to tell.
	tellLimit = 5 * time.Second
)

// Tell says something to all other instances that have the database: soon, or never where
// one cannot listen now, or there is too much to tell. The error is of a text that is too
// large.
func (s *Store) Tell(topic, text string) error {
	t := told{topic, text}
	if len(text) > maxTold || len(encoded(t)) > maxPieces {
		return fmt.Errorf("store: %d bytes about %s are more than can be told", len(text), topic)
	}
	if s.others != nil {
		s.others.say(func(n *news) {
			if len(n.Told) < maxTexts {
				n.Told = append(n.Told, t)
			}
		})
	}
	return nil
}

// say adds to what waits to be told.
func (o *others) say(add func(*news)) {
	o.mu.Lock()
	add(&o.waits)
	empty := o.waits.empty()
	o.mu.Unlock()
	if !empty {
		select {
		case o.wake <- struct{}{}:
		default:
		}
	}
}

func (n *news) empty() bool {
	return len(n.Arrived) == 0 && len(n.Settled) == 0 && len(n.Told) == 0 && !n.Missed
}

// hear takes what a batch has written, or may have.
func (o *others) hear(batch []*write, v verdict) {
	o.say(func(n *news) {
		n.Missed = n.Missed || v == lost
		for _, w := range batch {
			switch {
			case v != fine:
			case w.put != nil && w.put.kept && w.put.parts == nil:
				n.arrive(w.put.records)
			case w.settle != nil:
				n.change(w.settle)
			}
		}
	})
}

// arrive notes those of records that are in line.
func (n *news) arrive(records []message.Record) {
	for i := range records {
		r := &records[i]
		if r.State != message.Queued {
			continue
		}
		if first, known := n.Arrived[r.From]; known && first <= r.Seq {
			continue
		} else if !known && len(n.Arrived) == maxArrived {
			n.Missed = true
			continue
		}
		if n.Arrived == nil {
			n.Arrived = make(map[message.JID]int64)
		}
		n.Arrived[r.From] = r.Seq
	}
}

// change notes what has become of records.
func (n *news) change(p *settling) {
	for i := range p.changes {
		switch c := &p.changes[i]; {
		case !p.applied[i]:
		case c.State == message.Queued:
			n.arrive([]message.Record{c.Record})
		case len(n.Settled) == maxSettled:
			n.Missed = true
		default:
			n.Settled = append(n.Settled, c.Seq)
		}
	}
}

// take gives what waits.
func (o *others) take() news {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.waits
	o.waits = news{}
	return n
}

// tellOthers tells what waits, whenever there is something, until ctx ends, and then what
// is left.
func (s *Store) tellOthers(ctx context.Context) {
	for {
		select {
		case <-s.others.wake:
			s.tellOnce()
		case <-ctx.Done():
			s.tellOnce()
			return
		}
	}
}

// tellOnce tells what waits. Where that fails, others are told at the next time that they
// have missed something.
func (s *Store) tellOnce() {
	n := s.others.take()
	if n.empty() {
		return
	}
	n.From = s.others.name
	payloads := n.payloads()
	err := s.ask(context.Background(), tellLimit, notesOf, func(c *connection) error {
		_, err := c.exec(`SELECT pg_notify(`+channel+`, text) FROM unnest($1::text[]) AS text`, payloads)
		return err
	})
	if err != nil {
		s.others.mu.Lock()
		s.others.waits.Missed = true
		s.others.mu.Unlock()
	}
}

// channel is what all instances listen to that have the same tables.
const channel = `left('posthorn in ' || current_schema(), 63)`

// payloads are n as notifications, each of which is small enough.
func (n *news) payloads() (payloads []string) {
	part, size := news{From: n.From, Missed: n.Missed}, 0
	next := func(piece any) {
		length := len(encoded(piece)) + len(",")
		if size += length; size > maxPieces {
			payloads = append(payloads, encoded(part))
			part, size = news{From: n.From}, length
		}
	}
	for sender, seq := range n.Arrived {
		next([]any{sender, seq})
		if part.Arrived == nil {
			part.Arrived = make(map[message.JID]int64)
		}
		part.Arrived[sender] = seq
	}
	for _, seq := range n.Settled {
		next(seq)
		part.Settled = append(part.Settled, seq)
	}
	for _, t := range n.Told {
		next(t)
		part.Told = append(part.Told, t)
	}
	return append(payloads, encoded(part))
}

// encoded gives v, of texts and numbers, as JSON.
func encoded(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}
