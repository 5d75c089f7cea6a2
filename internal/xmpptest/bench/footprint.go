package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	idleConnections = 10_000
	manyMessages    = 100_000
	// settle is how long posthorn is left alone before its memory is read: its
	// start is over then, and nothing else has begun.
	settle = 2 * time.Second
)

const footprintProse = `
Resident memory (VmRSS) of posthorn: two seconds after its start; with 10,000
connections that stay open after one request each; and right after 100,000
messages over 64 connections, a process of its own each time. Heap allocations are
` + "`go_memstats_mallocs_total`" + ` over those messages. The start is from exec to the first 200
of ` + "`/readyz`" + `, stream to Prosody included.
`

// A figure is one number of the table.
type figure struct {
	name  string
	value string
	goal  string
}

// footprint: memory, allocations and start.
func footprint(ctx context.Context, b bench) (_ section, err error) {
	s, err := openSite(ctx, b.binary)
	if err != nil {
		return section{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var all []figure
	for _, step := range []func(context.Context, bench) ([]figure, error){s.startUp, s.idle, s.crowded, s.busy} {
		figures, err := step(ctx, b)
		if err != nil {
			return section{}, err
		}
		all = append(all, figures...)
	}
	t := table{{"", "posthorn", "target"}}
	for _, f := range all {
		t.add(f.name, f.value, f.goal)
	}
	return section{"Memory and start", footprintProse, []table{t}}, nil
}

// restart gives the site a new posthorn.
func (s *site) restart(ctx context.Context, b bench) error {
	old := s.posthorn
	s.posthorn = nil
	if err := old.stop(); err != nil {
		return err
	}
	h, err := startPosthorn(ctx, b.binary, s.prosody.ComponentAddress, &s.prosody.Server)
	s.posthorn = h
	return err
}

func (s *site) startUp(ctx context.Context, b bench) ([]figure, error) {
	var took []time.Duration
	for range b.rounds {
		if err := s.restart(ctx, b); err != nil {
			return nil, err
		}
		took = append(took, s.posthorn.started)
	}
	return []figure{{name: "start until ready", value: seconds(median(took).Seconds())}}, nil
}

func (s *site) idle(ctx context.Context, _ bench) ([]figure, error) {
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.resident("idle", 25)
}

func (s *site) resident(name string, most float64) ([]figure, error) {
	now, err := memory(s.posthorn.Pid(), "VmRSS")
	if err != nil {
		return nil, err
	}
	f := figure{name: "memory, " + name, value: fmt.Sprintf("%.1f MiB", now)}
	if most > 0 {
		f.goal = ceiling(now, most, " MiB")
	}
	return []figure{f}, nil
}

// crowded opens connections that have asked once: those that never ask are
// closed after a while.
func (s *site) crowded(ctx context.Context, _ bench) ([]figure, error) {
	l := &load{address: s.posthorn.address, connections: idleConnections, status: "HTTP/1.1 200 ",
		requests: [][]byte{[]byte("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")}}
	clients, err := l.connect(ctx)
	defer closeAll(clients)
	if err != nil {
		return nil, fmt.Errorf("%d connections (`ulimit -n` has to allow 15,000): %w", idleConnections, err)
	}
	return s.resident("10,000 idle connections", 0)
}

func (s *site) busy(ctx context.Context, b bench) ([]figure, error) {
	if err := s.restart(ctx, b); err != nil {
		return nil, err
	}
	const mallocs = "go_memstats_mallocs_total"
	before, err := metric(s.posthorn.metrics, mallocs)
	if err != nil {
		return nil, err
	}
	began := s.inbox.sent
	for s.inbox.sent-began < manyMessages {
		if _, err := s.post(ctx, &level{senders: eight, connections: 64}, time.Second); err != nil {
			return nil, err
		}
	}
	figures, err := s.resident("after 100,000 messages", 40)
	if err != nil {
		return nil, err
	}
	after, err := metric(s.posthorn.metrics, mallocs)
	if err != nil {
		return nil, err
	}
	each := (after - before) / float64(s.inbox.sent-began)
	return append(figures, figure{name: "heap allocations a message", value: fmt.Sprintf("%.1f", each)}), nil
}
