package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"posthorn/internal/xmpptest"
)

const keptProse = `
What can be accepted without the server: messages by POST, each answered 202 after it
is on disk (synchronous commits, shared by those who wait), in requests a second, to a
posthorn whose component address leads nowhere. Then the same posthorn is started with
the right address, and what it has kept is counted at its recipient, from the first
message to the last, beside the stream's limit in the same round. The memory is that
after all has been kept.
`

// keptConnections are those of the accepting.
var keptConnections = []int{1, 16, 128}

// A keeping is what came of all rounds.
type keeping struct {
	rates    [][]float64 // by keptConnections, a round each
	latency  [][]float64
	slowest  [][]float64 // 99 of a hundred are faster
	drained  comparison  // messages a second
	messages []float64
	memory   []float64
}

// kept: how many messages a second can be kept, and how fast they are sent later.
func kept(ctx context.Context, b bench) (_ section, err error) {
	s, err := openSite(ctx, b.binary)
	if err != nil {
		return section{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	k := keeping{rates: make([][]float64, len(keptConnections)), latency: make([][]float64, len(keptConnections)), slowest: make([][]float64, len(keptConnections))}
	for range b.rounds {
		if err := s.keepRound(ctx, b, &k); err != nil {
			return section{}, err
		}
	}
	return k.section(), nil
}

func (s *site) keepRound(ctx context.Context, b bench, k *keeping) error {
	if err := s.move(ctx, b, nowhere); err != nil {
		return err
	}
	all := 0
	for i, connections := range keptConnections {
		clients := load{address: s.posthorn.address, connections: connections, requests: requestsOf(eight), status: "HTTP/1.1 202 "}
		t, sent, err := clients.run(ctx, b.span)
		if err != nil {
			return fmt.Errorf("%d connections: %w\n%s", connections, err, s.posthorn.log())
		}
		all += sent
		k.rates[i] = append(k.rates[i], t.perSecond())
		k.latency[i] = append(k.latency[i], median(t.latencies).Seconds())
		k.slowest[i] = append(k.slowest[i], quantile(t.latencies, 0.99).Seconds())
	}
	now, err := memory(s.posthorn.Pid(), "VmRSS")
	if err != nil {
		return err
	}
	k.memory, k.messages = append(k.memory, now), append(k.messages, float64(all))
	drained, err := s.drain(ctx, b, all)
	if err != nil {
		return err
	}
	written, err := s.write(ctx, &level{senders: eight, connections: 64}, b.span)
	k.drained.add(drained, written.perSecond())
	return err
}

// move stops posthorn, and starts it with the component address.
func (s *site) move(ctx context.Context, b bench, component string) error {
	if err := s.posthorn.Stop(); err != nil {
		return err
	}
	return s.posthorn.start(ctx, b.binary, component, &s.prosody.Server)
}

// drain gives how many messages a second the recipient gets of those that were kept.
func (s *site) drain(ctx context.Context, b bench, all int) (perSecond float64, err error) {
	before := s.inbox.user.Received()
	if err := s.move(ctx, b, s.prosody.ComponentAddress); err != nil {
		return 0, err
	}
	if err := xmpptest.Poll(ctx, func() bool { return s.inbox.user.Received() > before }); err != nil {
		return 0, err
	}
	began, first := time.Now(), s.inbox.user.Received()-before
	if err := s.inbox.await(ctx, all); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, s.posthorn.log())
	}
	return float64(all-first) / time.Since(began).Seconds(), nil
}

func (k *keeping) section() section {
	accepted := table{{"connections", "kept/s", "p50", "p99"}}
	for i, connections := range keptConnections {
		accepted.add(fmt.Sprint(connections), count(median(k.rates[i])), seconds(median(k.latency[i])), seconds(median(k.slowest[i])))
	}
	drained := table{{"kept", "memory then", "sent/s", "the stream's limit", "ratio", "target"}}
	drained.add(count(median(k.messages)), fmt.Sprintf("%.1f MiB", median(k.memory)), count(median(k.drained.ours)), count(median(k.drained.theirs)),
		times(k.drained.ratio()), target(k.drained.ratio(), 0.5))
	return section{"Kept while the server is away", keptProse, []table{accepted, drained}}
}
