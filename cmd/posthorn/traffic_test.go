package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// A sending is one sort of request that traffic makes, and the statuses that it
// may have. What was answered 201 is received once, 504 perhaps, and anything
// else never.
type sending struct {
	path        string
	contentType string
	make        func(text string) string // what is posted
	every       int                      // of so many requests one is of this sort
	may         []int
}

var (
	toUser = sending{"/msg/user", "text/plain", func(text string) string { return text }, 1,
		[]int{http.StatusCreated, http.StatusServiceUnavailable, http.StatusGatewayTimeout}}
	toGhost = sending{"/msg/ghost", "text/plain", func(text string) string { return text }, 8,
		[]int{http.StatusNotFound, http.StatusServiceUnavailable, http.StatusGatewayTimeout}}
	unsendable = sending{"/msg/user", "text/plain", func(text string) string { return text + "\x00" }, 9,
		[]int{http.StatusUnprocessableEntity, http.StatusServiceUnavailable}}
)

// A traffic is what several clients post at once, and what they were answered.
type traffic struct {
	h     *posthorn
	pause time.Duration
	stop  context.CancelFunc
	wait  sync.WaitGroup

	mu      sync.Mutex
	answers map[string]int // by text: the status
}

var justMe = []string{"me@example.com"}

// keepsAll is a server that keeps what is sent while a user is not there, more
// of it than the 10,000 messages after which Prosody refuses the next.
var keepsAll = xmpptest.Options{Modules: []string{"offline"}, Global: "storage_archive_item_limit = 1000000"}

// startTraffic lets clients post until finish is called, each with a pause
// between requests, as the senders in turn. Each request has a text of its own,
// which begins with the sender.
func startTraffic(t *testing.T, h *posthorn, clients int, pause time.Duration, senders []string, sorts ...sending) *traffic {
	ctx, stop := context.WithCancel(t.Context())
	tr := &traffic{h: h, stop: stop, pause: pause, answers: make(map[string]int)}
	for c := range clients {
		name := fmt.Sprintf("%s %d", senders[c%len(senders)], c)
		tr.wait.Go(func() { tr.client(ctx, t, name, sorts) })
	}
	t.Cleanup(tr.finish)
	return tr
}

func (tr *traffic) client(ctx context.Context, t *testing.T, name string, sorts []sending) {
	sender, _, _ := strings.Cut(name, " ")
	for n := 0; ctx.Err() == nil; n++ {
		<-time.After(tr.pause)
		text := fmt.Sprintf("%s/%d", name, n)
		sort := toUser
		for _, s := range sorts {
			if n%s.every == s.every-1 {
				sort = s
			}
		}
		a, err := tr.h.post(sort.path, sort.make(text), func(r *http.Request) {
			r.Header.Set("Content-Type", sort.contentType)
			r.SetBasicAuth(sender, password)
		})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			return
		}
		if !slices.Contains(sort.may, a.status) || a.status == http.StatusCreated && a.Status != tr.h.expected.local {
			t.Errorf("%s to %s was answered %d %s", text, sort.path, a.status, a.raw)
		}
		tr.mu.Lock()
		tr.answers[text] = a.status
		tr.mu.Unlock()
		if a.status >= http.StatusInternalServerError {
			_ = xmpptest.Poll(ctx, tr.h.sends)
		}
	}
}

// count is how many requests were answered with one of the statuses so far.
func (tr *traffic) count(statuses ...int) (n int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for status := range maps.Values(tr.answers) {
		if slices.Contains(statuses, status) {
			n++
		}
	}
	return n
}

// flows waits for n more messages that are received.
func (tr *traffic) flows(t *testing.T, n int) {
	t.Helper()
	tr.await(t, n, http.StatusCreated)
}

// await waits for n more answers of one of the statuses.
func (tr *traffic) await(t *testing.T, n int, statuses ...int) {
	t.Helper()
	before := tr.count(statuses...)
	xmpptest.Wait(t, 30*time.Second, fmt.Sprintf("%d more answers are %d", n, statuses), func() bool { return tr.count(statuses...) >= before+n })
}

func (tr *traffic) finish() {
	tr.stop()
	tr.wait.Wait()
}

// compare receives everything that user@example.com was sent, now or while
// nobody was there, and holds it against the answers.
func (tr *traffic) compare(t *testing.T, user *xmpptest.Client) {
	t.Helper()
	const last = "the last"
	if a := tr.h.mustPost(t, "/msg/user", last, nil); a.status != http.StatusCreated {
		t.Fatalf("answer is %d %s", a.status, a.raw)
	}
	received := make(map[string]int)
	for m := user.MustReceive(t); m.Body != last; m = user.MustReceive(t) {
		received[m.Body]++
		if sender, _, _ := strings.Cut(m.Body, " "); m.From != sender {
			t.Errorf("%q came from %s", m.Body, m.From)
		}
	}
	tr.hold(t, received)
}

// hold compares what was received, by text, with what was answered.
func (tr *traffic) hold(t *testing.T, received map[string]int) {
	t.Helper()
	count := make(map[int]int)
	for text, status := range tr.answers {
		count[status]++
		switch got := received[text]; status {
		case http.StatusCreated:
			if got != 1 {
				t.Errorf("%s was answered 201 and received %d times", text, got)
			}
		case http.StatusGatewayTimeout:
			if got > 1 {
				t.Errorf("%s was answered 504 and received %d times", text, got)
			}
		default:
			if got != 0 {
				t.Errorf("%s was answered %d and received", text, status)
			}
		}
	}
	for text := range received {
		if _, sent := tr.answers[text]; !sent {
			t.Errorf("%q was received and nobody sent it", text)
		}
	}
	t.Logf("answers by status: %v; received: %d", count, len(received))
}
