package httpapi

import (
	"slices"
	"strings"
	"sync"
	"time"

	"posthorn/internal/message"
)

const (
	maxOutcomes = 20 // of one sender
	// maxSenders bounds whose outcomes are remembered: with addresses and ids as people
	// have them that is 4 MiB.
	maxSenders = 1000
	// keptMinutes is how far back messages are counted.
	keptMinutes = 60
)

// An outcome is what became of one message, as its sender is told afterwards.
type outcome struct {
	result
	ID   string    `json:"id"`
	Time time.Time `json:"time"`
}

// A memory knows how many messages there were lately, and what became of the last ones
// of those who sent lately. It is safe for use by many goroutines.
type memory struct {
	mu      sync.Mutex // guards it all
	minutes [keptMinutes]minute

	// Of the two, old is what young was until that had half of maxSenders, and is
	// forgotten when young has so many again: so who sends is not forgotten before
	// others who do not.
	young, old map[message.JID]*[]outcome
}

// A minute counts messages, of everybody.
type minute struct {
	at           int64 // minutes since 1970
	sent, failed int
}

// minutes are the counts of the last ones, the present one last.
type minutes struct {
	Sent   [keptMinutes]int `json:"sent"` // or kept
	Failed [keptMinutes]int `json:"failed"`
}

func newMemory() *memory { return &memory{young: make(map[message.JID]*[]outcome)} }

// add remembers what became of messages of one sender, and gives how many of them were
// sent, or kept, and how many not.
func (m *memory) add(sender message.JID, now time.Time, outcomes []outcome) (sent, failed int) {
	for _, o := range outcomes {
		if o.Code != "" {
			failed++
		} else {
			sent++
		}
	}
	m.count(now, sent, failed)
	m.mu.Lock()
	defer m.mu.Unlock()
	last := m.of(sender)
	*last = append(*last, outcomes...)
	*last = slices.Delete(*last, 0, max(0, len(*last)-maxOutcomes))
	return sent, failed
}

// count adds messages to those of the present minute.
func (m *memory) count(now time.Time, sent, failed int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	of := m.minute(now)
	of.sent += sent
	of.failed += failed
}

// minute gives the present one. The caller holds mu.
func (m *memory) minute(now time.Time) *minute {
	at := now.Unix() / 60
	of := &m.minutes[at%keptMinutes]
	if of.at != at {
		*of = minute{at: at}
	}
	return of
}

// of gives the list of a sender, who is remembered from now on. The caller holds mu.
func (m *memory) of(sender message.JID) *[]outcome {
	if last := m.young[sender]; last != nil {
		return last
	}
	last := m.old[sender]
	if last == nil {
		last = new([]outcome)
	}
	if len(m.young) >= maxSenders/2 {
		m.old, m.young = m.young, make(map[message.JID]*[]outcome)
	}
	m.young[sender] = last
	return last
}

// outcomes gives what is remembered of a sender, the oldest first.
func (m *memory) outcomes(sender message.JID) []outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, list := range []map[message.JID]*[]outcome{m.young, m.old} {
		if last := list[sender]; last != nil {
			return slices.Clone(*last)
		}
	}
	return nil
}

// lastHour gives how many messages there were.
func (m *memory) lastHour(now time.Time) (of minutes) {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := now.Unix()/60 - keptMinutes + 1
	for _, one := range m.minutes {
		if i := one.at - first; 0 <= i && i < keptMinutes {
			of.Sent[i], of.Failed[i] = one.sent, one.failed
		}
	}
	return of
}

// remember puts what became of a request's messages into the memory; err is of them
// all. Addresses and ids are copied, or they would hold on to the whole request, of which
// they are parts, and to the password in it.
func (x *exchange) remember(messages []*message.Message, outcomes []message.Outcome, err error) {
	now := time.Now()
	list := make([]outcome, len(messages))
	for i, m := range messages {
		what := message.Outcome{Err: err}
		if err == nil {
			what = outcomes[i]
		}
		of, _ := x.result(message.JID(strings.Clone(string(m.To))), what)
		list[i] = outcome{result: of, ID: strings.Clone(m.ID), Time: now.UTC().Truncate(time.Millisecond)}
	}
	sent, failed := x.memory.add(message.JID(strings.Clone(string(x.from))), now, list)
	if x.options.Counted != nil {
		x.options.Counted(sent, failed)
	}
}

// CountElsewhere counts messages that another posthorn was given, which shares the store.
func (h *Handler) CountElsewhere(sent, failed int) { h.memory.count(time.Now(), sent, failed) }
