package main

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/xmpptest"
)

// A receipt is a message as its recipient got it.
type receipt struct {
	xmpptest.Message
	at time.Time
}

// A mailbox is a user who is there all the time, and notes when what came.
type mailbox struct {
	mu       sync.Mutex
	receipts []receipt       // guarded by mu, in their order
	known    map[string]bool // guarded by mu: the texts of those
}

func openMailbox(t *testing.T, client *xmpptest.Client) *mailbox {
	m := &mailbox{known: make(map[string]bool)}
	var reading sync.WaitGroup
	reading.Go(func() {
		for message := range client.Messages() {
			m.note(message)
		}
	})
	t.Cleanup(func() {
		client.Close()
		reading.Wait()
	})
	return m
}

func (m *mailbox) note(message xmpptest.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.receipts = append(m.receipts, receipt{message, time.Now()})
	m.known[message.Body] = true
}

// has reports whether a text has come.
func (m *mailbox) has(text string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known[text]
}

// texts gives those that have come and begin so, in their order, each as often as it has.
func (m *mailbox) texts(beginning string) (texts []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.receipts {
		if strings.HasPrefix(r.Body, beginning) {
			texts = append(texts, r.Body)
		}
	}
	return texts
}

// of gives what has come of a traffic, by text, and the texts in the order in which they
// came first.
func (m *mailbox) of(tr *traffic) (received map[string][]receipt, order []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	received = make(map[string][]receipt)
	for _, r := range m.receipts {
		if _, ours := tr.answers[r.Body]; !ours {
			continue
		}
		if received[r.Body] == nil {
			order = append(order, r.Body)
		}
		received[r.Body] = append(received[r.Body], r)
	}
	return received, order
}

// A span is a time in which something was wrong.
type span struct{ from, to time.Time }

// unconfirmedFor is how long before something goes wrong a message may have come and not be
// confirmed: far longer than that takes.
const unconfirmedFor = 2 * time.Second

// A count is what became of a traffic.
type count struct {
	answers        map[int]int
	repeated       int // were repeated until they were answered
	missing        int // were answered 2xx and not received
	late           int // came after one that was sent when they had been answered
	again          int // were received more than once
	unexcused      int // of those, in no span in which something was wrong
	unknown, wrong int // received although they were refused; under another id or from another sender
}

// count holds what was received against what was answered, and says of each mistake.
func (m *mailbox) count(t *testing.T, tr *traffic, disturbed []span) count {
	t.Helper()
	received, order := m.of(tr)
	late := misplaced(tr, order)
	c := count{answers: tr.counts, late: len(late)}
	for text, a := range tr.answers {
		got := received[text]
		if a.repeated {
			c.repeated++
		}
		switch promised := a.status == http.StatusCreated || a.status == http.StatusAccepted; {
		case promised && len(got) == 0:
			c.missing++
			t.Errorf("%s was answered %d and not received", text, a.status)
		case !promised && a.status != 0 && a.status != http.StatusGatewayTimeout && len(got) > 0:
			c.unknown++
			t.Errorf("%s was answered %d and received", text, a.status)
		}
		if len(got) > 1 {
			c.again++
			if !slices.ContainsFunc(disturbed, func(s span) bool { return s.holds(got) }) {
				c.unexcused++
				t.Errorf("%s was answered %d and received %d times, from %v to %v, which was not while something was wrong", text, a.status, len(got), got[0].at, got[len(got)-1].at)
			}
		}
		for _, r := range got {
			if sender, _, _ := strings.Cut(text, " "); r.From != sender || r.ID != got[0].ID || a.id != "" && r.ID != a.id {
				c.wrong++
				t.Errorf("%s with the id %q was received as %q from %s", text, a.id, r.ID, r.From)
			}
		}
	}
	for _, text := range slices.Sorted(maps.Keys(late)) {
		earlier := late[text]
		t.Errorf("%s was answered %d at %v and received at %v, after %s, which was sent at %v and received at %v", text, tr.answers[text].status, tr.answers[text].to,
			received[text][0].at, earlier, tr.answers[earlier].from, received[earlier][0].at)
	}
	return c
}

// holds reports whether what was received again was in flight when something went wrong,
// and was sent again before that was over: so not by who had stood still until then.
func (s span) holds(got []receipt) bool {
	return got[0].at.After(s.from.Add(-unconfirmedFor)) && got[len(got)-1].at.Before(s.to)
}

// misplaced are those promised texts that came after another from the same sender which
// was sent when they had been answered already, with that one.
func misplaced(tr *traffic, order []string) (late map[string]string) {
	late = make(map[string]string)
	newest := make(map[string]string) // by sender: what was sent last of what has come so far
	for _, text := range order {
		a := tr.answers[text]
		if a.status != http.StatusCreated && a.status != http.StatusAccepted {
			continue
		}
		sender, _, _ := strings.Cut(text, " ")
		last, any := newest[sender]
		if any && a.to.Before(tr.answers[last].from) {
			late[text] = last
		}
		if !any || a.from.After(tr.answers[last].from) {
			newest[sender] = text
		}
	}
	return late
}

// settle waits until all that was promised has come, or will not, and nothing is on its
// way that nobody was told of.
func (c *cluster) settle(t *testing.T, m *mailbox, tr *traffic) {
	t.Helper()
	var left []string
	for text, a := range tr.answers {
		if a.status == http.StatusCreated || a.status == http.StatusAccepted {
			left = append(left, text)
		}
	}
	deadline := time.Now().Add(time.Minute) // what is missing then is counted
	xmpptest.Wait(t, 2*time.Minute, "everything is received", func() bool {
		left = slices.DeleteFunc(left, m.has)
		return len(left) == 0 || time.Now().After(deadline)
	})
	for _, i := range c.instances {
		i.drained(t)
	}
	last := "the last of " + tr.label
	if a := c.front.mustPost(t, "/msg/user", last, nil); a.status != http.StatusCreated {
		t.Fatalf("answer is %d %s", a.status, a.raw)
	}
	xmpptest.Wait(t, 20*time.Second, last, func() bool { return m.has(last) })
}

// countHead is the head of the table in docs/operating.md, of which row makes a line.
const countHead = "| what happens | times | answered 201, 202 | after a repetition | missing | out of order | received twice | nothing got through: median | worst |\n|---|---|---|---|---|---|---|---|---|"

func (c count) row(name string, took []time.Duration) string {
	slices.Sort(took)
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
	return fmt.Sprintf("| %s | %d | %d, %d | %d | %d | %d | %d | %s | %s |", name, len(took), c.answers[http.StatusCreated], c.answers[http.StatusAccepted],
		c.repeated, c.missing, c.late, c.again, seconds(took[len(took)/2]), seconds(took[len(took)-1]))
}

// TestMisplaced: what counts as out of order, and what does not.
func TestMisplaced(t *testing.T) {
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	tr := &traffic{answers: map[string]answered{
		"me 1":     {status: http.StatusCreated, from: at(1), to: at(2)},
		"me 2":     {status: http.StatusAccepted, from: at(3), to: at(6)},
		"me 3":     {status: http.StatusCreated, from: at(5), to: at(7)}, // beside 2
		"me 4":     {status: http.StatusCreated, from: at(8), to: at(9)},
		"me lost":  {from: at(1), to: at(2)},
		"you 1":    {status: http.StatusCreated, from: at(1), to: at(2)},
		"you none": {status: http.StatusServiceUnavailable, from: at(1), to: at(2)},
	}}
	for _, test := range []struct {
		order []string
		want  map[string]string
	}{
		{[]string{"me 1", "me 2", "me 3", "me 4"}, map[string]string{}},
		{[]string{"me 1", "me 3", "me 2", "me 4"}, map[string]string{}},
		{[]string{"me 2", "me 1", "me 3", "me 4"}, map[string]string{"me 1": "me 2"}},
		{[]string{"me 4", "me 1", "me 2", "me 3"}, map[string]string{"me 1": "me 4", "me 2": "me 4", "me 3": "me 4"}},
		{[]string{"me 4", "you 1", "me lost", "you none"}, map[string]string{}},
	} {
		if diff := cmp.Diff(test.want, misplaced(tr, test.order)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", test.order, diff)
		}
	}
}
