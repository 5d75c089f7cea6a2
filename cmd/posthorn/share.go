package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"posthorn/auth"
	"posthorn/component"
	"posthorn/httpapi"
	"posthorn/internal/delivery"
	"posthorn/internal/lease"
	"posthorn/internal/message"
	"posthorn/internal/store"
)

// What posthorns that share a database tell each other, beside what the store says of
// messages.
const (
	leaseTopic  = "lease"  // somebody has it now, or nobody, or its holder's stream has changed
	guessTopic  = "guess"  // a wrong password
	askTopic    = "ask"    // of the one that has the stream: a place for a file
	answerTopic = "answer" // the place
	countTopic  = "count"  // how many messages there were
)

// silence is how long the XMPP server may not answer where posthorns share a database:
// one that is cut off from it has to notice, give its lease up and let another connect
// within ten seconds.
const silence = 5 * time.Second

// A sharing is what a posthorn has that shares its database with others. It is immutable
// once serve has built everything. The nil sharing is that of a posthorn that does not.
type sharing struct {
	name     string // of this posthorn, since it was started
	lease    *lease.Lease
	keeper   *store.Store
	stream   *component.Component
	delivery *delivery.Delivery
	verifier *auth.Verifier
	errands  *errands
	counts   counts
	api      *httpapi.Handler
	farewell farewell
}

// newSharing gives nil where the database is this posthorn's alone.
func newSharing(c *config) *sharing {
	if c.storeURL.Empty() {
		return nil
	}
	host, _ := os.Hostname()
	return &sharing{name: host + "/" + rand.Text()[:8]}
}

// storeOptions lets the store say what it hears.
func (s *sharing) storeOptions(o *store.Options) {
	if s == nil {
		return
	}
	o.Name = s.name
	o.Arrived = func(sender message.JID, seq int64) { s.delivery.Arrived(sender, seq) }
	o.Settled = func(seqs []int64) { s.delivery.Settled(seqs) }
	o.Missed = func() { s.delivery.Missed(); s.lease.Nudge() }
	o.Told = s.hear
}

// hear takes what another posthorn has told.
func (s *sharing) hear(topic, text string) {
	switch topic {
	case leaseTopic:
		s.lease.Nudge()
	case guessTopic:
		var g guess
		if json.Unmarshal([]byte(text), &g) == nil {
			s.verifier.GuessedElsewhere(g.Account, g.Network)
		}
	case askTopic:
		s.errands.asked(text)
	case answerTopic:
		s.errands.answered(text)
	case countTopic:
		var c newCount
		if json.Unmarshal([]byte(text), &c) == nil {
			s.api.CountElsewhere(c.Sent, c.Failed)
		}
	}
}

// A guess is a wrong password, as others are told of it.
type guess struct {
	Account message.JID `json:"account"`
	Network string      `json:"network"`
}

// guessed tells others. One that is lost is a guess more for whoever guesses.
func (s *sharing) guessed(account message.JID, network string) {
	text, _ := json.Marshal(guess{account, network}) // never fails
	_ = s.keeper.Tell(guessTopic, string(text))
}

// componentOptions keeps the stream silent without the lease.
func (s *sharing) componentOptions(o *component.Options) {
	if s == nil {
		return
	}
	o.May = func() bool { return s.lease.Held() }
	o.Patience = silence
	changed := o.Changed
	o.Changed = func() { changed(); s.lease.Nudge() }
}

func (s *sharing) deliveryOptions(o *delivery.Options) {
	if s == nil {
		return
	}
	o.Term = func() int64 { return s.lease.Term() }
	o.Flows = s.flows
}

func (s *sharing) authOptions(o *auth.Options) {
	if s == nil {
		return
	}
	o.Keeping = func() bool { return !s.flows() }
	o.Guessed = s.guessed
}

// httpOptions tells of the stream of whoever has it. Without the database nothing is
// accepted.
func (s *sharing) httpOptions(o *httpapi.Options) {
	if s == nil {
		return
	}
	o.Stream = s.lease.Stream
	o.Ready = s.farewell.ready(func() bool { return s.keeper.Failure() == nil })
	o.Role = s.role
	o.Counted = s.counts.add
}

// join takes what the sharing needs of the others, before any of them runs.
func (s *sharing) join(keeper *store.Store, stream *component.Component, d *delivery.Delivery, log *slog.Logger, metrics prometheus.Registerer) {
	if s == nil {
		return
	}
	s.keeper, s.stream, s.delivery = keeper, stream, d
	s.lease = lease.New(lease.Options{
		Name:    s.name,
		Stream:  func() string { return stream.State().String() },
		Known:   func() bool { return keeper.Failure() != nil },
		Log:     log,
		Metrics: metrics,
	}, keeper)
	s.errands = newErrands(slots{stream}, s.lease.Held, s.flows, keeper.Tell)
}

// run has the stream while this posthorn has the lease. What has become of messages is
// written before the lease is another's, unless everything stops: then it is by now.
func (s *sharing) run(ctx context.Context) {
	defer s.errands.close()
	defer start(func(ctx context.Context) { s.counts.tellOthers(ctx, s.keeper.Tell) })()
	s.lease.Run(ctx, func(held context.Context) {
		s.stream.Run(held)
		if ctx.Err() == nil {
			s.delivery.Land()
		}
	})
}

// leave lets others know that this posthorn stops, before it takes no more requests.
func (s *sharing) leave() {
	if s != nil {
		s.farewell.say()
	}
}

// flows reports whether the stream of whoever has it is up.
func (s *sharing) flows() bool { return s.lease.Stream() == component.Up.String() }

// role is what this posthorn is among those that share its database.
func (s *sharing) role() string {
	if s.lease.Held() {
		return "holder"
	}
	return "standby"
}
