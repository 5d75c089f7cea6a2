package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// A sending is one sort of request that traffic makes, and the statuses that it
// may have. What was answered 201 is received once, 202 once at least, 504 and what
// was not answered perhaps, and anything else never.
type sending struct {
	path        string
	contentType string
	make        func(text string) string // what is posted
	every       int                      // of so many requests one is of this sort
	may         []int
	keyed       bool // with an Idempotency-Key
}

var (
	toUser = sending{"/msg/user", "text/plain", func(text string) string { return text }, 1,
		[]int{http.StatusCreated, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, false}
	// With a store nothing stays unconfirmed.
	toUserKept = sending{"/msg/user", "text/plain", func(text string) string { return text }, 1,
		[]int{http.StatusCreated, http.StatusAccepted, http.StatusServiceUnavailable}, false}
	toUserKeyed = sending{"/msg/user", "text/plain", func(text string) string { return text }, 3,
		[]int{http.StatusCreated, http.StatusAccepted, http.StatusServiceUnavailable}, true}
	toGhost = sending{"/msg/ghost", "text/plain", func(text string) string { return text }, 8,
		[]int{http.StatusNotFound, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, false}
	unsendable = sending{"/msg/user", "text/plain", func(text string) string { return text + "\x00" }, 9,
		[]int{http.StatusUnprocessableEntity, http.StatusServiceUnavailable}, false}
)

// A traffic is what several clients post at once, and what they were answered.
type traffic struct {
	h     *posthorn
	pause time.Duration
	dies  bool   // posthorn does, now and then
	label string // tells its texts from those of other traffic
	stop  context.CancelFunc
	wait  sync.WaitGroup

	// The ways to h, of which each client has one; empty: h alone. Where there are several,
	// requests with an Idempotency-Key are repeated by whichever until they are answered.
	ways []*posthorn

	mu      sync.Mutex
	answers map[string]answered // by text
	counts  map[int]int         // of those, by status
	latest  time.Time           // when the latest 201 was said, or mark was called
	longest time.Duration       // without a 201 since then
	since   time.Time           // when through was called
	fresh   int                 // 201s to requests that were made since then
}

// An answered is what was said to one request, and when.
type answered struct {
	status   int // 0: nothing
	id       string
	from, to time.Time // of a request that was repeated: the first, and the last answer
	repeated bool
}

var justMe = []string{"me@example.com"}

// keepsAll is a server that keeps what is sent while a user is not there, more
// of it than the 10,000 messages after which Prosody refuses the next.
var keepsAll = xmpptest.Options{Modules: []string{"offline"}, Global: "storage_archive_item_limit = 1000000"}

// startTraffic lets clients post until finish is called, each with a pause
// between requests, as the senders in turn. Each request has a text of its own,
// which begins with the sender.
func startTraffic(t *testing.T, h *posthorn, clients int, pause time.Duration, senders []string, sorts ...sending) *traffic {
	tr := &traffic{h: h, pause: pause}
	tr.start(t, clients, senders, sorts...)
	return tr
}

func (tr *traffic) start(t *testing.T, clients int, senders []string, sorts ...sending) {
	ctx, stop := context.WithCancel(t.Context())
	tr.stop, tr.answers, tr.counts = stop, make(map[string]answered), make(map[int]int)
	if len(tr.ways) == 0 {
		tr.ways = []*posthorn{tr.h}
	}
	for c := range clients {
		name := fmt.Sprintf("%s %s%d", senders[c%len(senders)], tr.label, c)
		way := tr.ways[c/len(senders)%len(tr.ways)]
		tr.wait.Go(func() { tr.client(ctx, t, way, name, sorts) })
	}
	t.Cleanup(tr.finish)
}

func (tr *traffic) client(ctx context.Context, t *testing.T, h *posthorn, name string, sorts []sending) {
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
		began := time.Now()
		a, repeated, err := tr.post(h, sort, sender, text)
		if err != nil && tr.dies && !repeated {
			tr.note(text, answered{from: began})
			_ = xmpptest.Poll(ctx, h.listens)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
			return
		}
		if !slices.Contains(sort.may, a.status) || a.status == http.StatusCreated && a.Status != tr.h.expected.local {
			t.Errorf("%s to %s was answered %d %s", text, sort.path, a.status, a.raw)
		}
		tr.note(text, answered{status: a.status, id: a.ID, from: began, repeated: repeated})
		if a.status >= http.StatusInternalServerError {
			_ = xmpptest.Poll(ctx, h.sends)
		}
	}
}

// post makes one request, again and again where it is to be repeated.
func (tr *traffic) post(h *posthorn, sort sending, sender, text string) (a answer, repeated bool, err error) {
	for n := 0; ; n++ {
		a, err = h.post(sort.path, sort.make(text), func(r *http.Request) {
			r.Header.Set("Content-Type", sort.contentType)
			r.SetBasicAuth(sender, password)
			if sort.keyed {
				r.Header.Set("Idempotency-Key", strings.ReplaceAll(text, " ", "_"))
			}
		})
		failed := err != nil || a.status == http.StatusServiceUnavailable || a.status == http.StatusGatewayTimeout
		if !failed || !sort.keyed || len(tr.ways) == 1 || n == maxRepeated {
			return a, n > 0, err
		}
		<-time.After(repeatAfter)
		h = tr.ways[rand.N(len(tr.ways))]
	}
}

// A client repeats a request for longer than anything lasts that is done to posthorn.
const (
	repeatAfter = 200 * time.Millisecond
	maxRepeated = 500
)

func (tr *traffic) note(text string, a answered) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	a.to = time.Now()
	tr.answers[text] = a
	tr.counts[a.status]++
	if a.status != http.StatusCreated {
		return
	}
	tr.longest, tr.latest = max(tr.longest, a.to.Sub(tr.latest)), a.to
	if a.from.After(tr.since) {
		tr.fresh++
	}
}

// mark begins a measurement of how long messages do not get through.
func (tr *traffic) mark() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.latest, tr.longest = time.Now(), 0
}

// gap is for how long none did since mark, at most.
func (tr *traffic) gap() time.Duration {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return max(tr.longest, time.Since(tr.latest))
}

// through waits until n messages do that are sent from now on.
func (tr *traffic) through(t *testing.T, n int) {
	t.Helper()
	tr.mu.Lock()
	tr.since, tr.fresh = time.Now(), 0
	tr.mu.Unlock()
	xmpptest.Wait(t, time.Minute, fmt.Sprintf("%d messages get through", n), func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return tr.fresh >= n
	})
}

// count is how many requests were answered with one of the statuses so far.
func (tr *traffic) count(statuses ...int) (n int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, status := range statuses {
		n += tr.counts[status]
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
	received := make(map[string][]xmpptest.Message)
	newest := make(map[string]int)
	for m := user.MustReceive(t); m.Body != last; m = user.MustReceive(t) {
		if len(received[m.Body]) == 0 {
			tr.checkOrder(t, newest, m.Body)
		}
		received[m.Body] = append(received[m.Body], m)
		if sender, _, _ := strings.Cut(m.Body, " "); m.From != sender {
			t.Errorf("%q came from %s", m.Body, m.From)
		}
	}
	tr.hold(t, received)
}

// checkOrder: what a client was promised comes in the order in which it was sent;
// newest is by client.
func (tr *traffic) checkOrder(t *testing.T, newest map[string]int, text string) {
	t.Helper()
	if status := tr.answers[text].status; status != http.StatusCreated && status != http.StatusAccepted {
		return
	}
	client, number, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(number)
	if err != nil {
		return // it was sent by somebody else
	}
	if before, any := newest[client]; any && n < before {
		t.Errorf("%s came after number %d", text, before)
	}
	newest[client] = n
}

// hold compares what was received, by text, with what was answered.
func (tr *traffic) hold(t *testing.T, received map[string][]xmpptest.Message) {
	t.Helper()
	count, again := make(map[int]int), 0
	for text, a := range tr.answers {
		count[a.status]++
		got := len(received[text])
		again += max(0, got-1)
		most, least := 0, 0
		switch a.status {
		case http.StatusCreated:
			least, most = 1, 1
		case http.StatusAccepted: // one that was unconfirmed goes again
			least, most = 1, 2
			if tr.dies {
				most = math.MaxInt
			}
		case http.StatusGatewayTimeout:
			most = 1
		case 0:
			most = math.MaxInt
		}
		if got < least || got > most {
			t.Errorf("%s was answered %d and received %d times", text, a.status, got)
		}
		for _, m := range received[text] {
			if m.ID != received[text][0].ID || a.id != "" && m.ID != a.id {
				t.Errorf("%s has the id %q, and was received as %q", text, a.id, m.ID)
			}
		}
	}
	for text := range received {
		if _, sent := tr.answers[text]; !sent {
			t.Errorf("%q was received and nobody sent it", text)
		}
	}
	t.Logf("answers by status: %v; received: %d, and %d of them again", count, len(received), again)
}
