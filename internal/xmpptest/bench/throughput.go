package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A level is one number of senders and connections, and what came of it.
type level struct {
	senders     []string
	connections int
	least       float64 // the ratio's target; 0: none
	rate        comparison
	p50         comparison // seconds
	p99         []float64
	prosody     comparison // seconds of its processor a message
	posthorn    []float64  // the same of ours
}

func levels() []*level {
	all := []*level{{senders: eight[:1], connections: 1}}
	for _, senders := range [][]string{eight[:1], eight} {
		all = append(all, &level{senders: senders, connections: 16},
			&level{senders: senders, connections: 64, least: 0.70},
			&level{senders: senders, connections: 256, least: 0.85})
	}
	return all
}

// post sends through posthorn.
func (s *site) post(ctx context.Context, l *level, span time.Duration) (tally, error) {
	clients := load{address: s.posthorn.address, connections: l.connections, requests: requestsOf(l.senders),
		status: created, contains: `"status":"delivered"`}
	t, sent, err := clients.run(ctx, span)
	if err != nil {
		return t, fmt.Errorf("%w\n%s", err, s.posthorn.log())
	}
	return t, s.inbox.await(ctx, sent)
}

// write sends the same messages on the stream itself.
func (s *site) write(ctx context.Context, l *level, span time.Duration) (tally, error) {
	messages, inFlight := blockMessages, blocksInFlight
	if l.connections == 1 {
		messages, inFlight = 1, 1
	}
	t, err := s.raw.run(l.senders, messages, inFlight, span)
	if err != nil {
		return t, err
	}
	return t, s.inbox.await(ctx, t.answers)
}

// throughput: confirmed messages a second, of the stream's own limit.
func throughput(ctx context.Context, b bench) (_ section, err error) {
	s, err := openSite(ctx, b.binary)
	if err != nil {
		return section{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	warmUp := &level{senders: eight, connections: 64}
	if err := s.round(ctx, warmUp, b.span, false); err != nil {
		return section{}, err
	}
	all := levels()
	for i := range b.rounds {
		for _, l := range all {
			if err := s.round(ctx, l, b.span, i%2 == 1); err != nil {
				return section{}, err
			}
		}
	}
	return throughputSection(all), nil
}

// round measures both at one level, one right after the other.
func (s *site) round(ctx context.Context, l *level, span time.Duration, rawFirst bool) error {
	var posted, written tally
	measure := []func() error{
		func() (err error) { posted, err = s.metered(ctx, s.post, l, span); return err },
		func() (err error) { written, err = s.metered(ctx, s.write, l, span); return err },
	}
	if rawFirst {
		measure[0], measure[1] = measure[1], measure[0]
	}
	for _, m := range measure {
		if err := m(); err != nil {
			return fmt.Errorf("%d senders, %d connections: %w", len(l.senders), l.connections, err)
		}
	}
	l.rate.add(posted.perSecond(), written.perSecond())
	l.p50.add(median(posted.latencies).Seconds(), median(written.latencies).Seconds())
	l.p99 = append(l.p99, quantile(posted.latencies, 0.99).Seconds())
	l.prosody.add(posted.prosody, written.prosody)
	l.posthorn = append(l.posthorn, posted.posthorn)
	return nil
}

// metered runs one of the two, and tells what it took of the processors.
func (s *site) metered(ctx context.Context, send func(context.Context, *level, time.Duration) (tally, error), l *level, span time.Duration) (tally, error) {
	before, err := processorTimes(s.prosody.Pid(), s.posthorn.Pid())
	if err != nil {
		return tally{}, err
	}
	sent := s.inbox.sent
	t, err := send(ctx, l, span)
	if err != nil {
		return t, err
	}
	after, err := processorTimes(s.prosody.Pid(), s.posthorn.Pid())
	if err != nil {
		return t, err
	}
	each := func(i int) float64 { return (after[i] - before[i]).Seconds() / float64(s.inbox.sent-sent) }
	t.prosody, t.posthorn = each(0), each(1)
	return t, nil
}

const throughputProse = `
Text messages by POST over connections that stay, each answered 201 with
` + "`delivered`" + `, to one recipient who is online and reads; Prosody without an
archive. The stream's limit is a component that does nothing else: it writes the
same stanzas, rendered beforehand, 64 and a barrier in one piece, with four such
pieces in flight, and of what comes back counts the barriers. Beside one
connection it writes one message with its barrier and waits for it. The last table
is processor time a message, counted in ticks of 10 ms.
`

func throughputSection(all []*level) section {
	rates := table{{"senders", "connections", "messages/s", "the stream's limit", "ratio", "target", "p50", "p99"}}
	cost := table{{"senders", "connections", "posthorn", "Prosody, with posthorn", "Prosody, with the stream alone"}}
	single := table{{"p50 of a request", "p50 of one barrier loop", "ratio", "target"}}
	for _, l := range all {
		goal := ""
		if l.least > 0 {
			goal = target(l.rate.ratio(), l.least)
		}
		rates.add(fmt.Sprint(len(l.senders)), fmt.Sprint(l.connections), count(median(l.rate.ours)), count(median(l.rate.theirs)),
			times(l.rate.ratio()), goal, seconds(median(l.p50.ours)), seconds(median(l.p99)))
		cost.add(fmt.Sprint(len(l.senders)), fmt.Sprint(l.connections),
			seconds(median(l.posthorn)), seconds(median(l.prosody.ours)), seconds(median(l.prosody.theirs)))
		if l.connections == 1 {
			single.add(seconds(median(l.p50.ours)), seconds(median(l.p50.theirs)),
				times(l.p50.ratio()), ceiling(l.p50.ratio(), 1.6, ""))
		}
	}
	return section{"Confirmed messages, of what the stream can take", throughputProse, []table{rates, single, cost}}
}
