package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// withStore is the change of the configuration that keeps messages in a database
// of the test's.
func withStore(t testing.TB) []string {
	return []string{`store: ""`, fmt.Sprintf("store: %q", "sqlite:"+filepath.Join(t.TempDir(), "posthorn.db"))}
}

// TestKept: a message that cannot be handed over is kept, its sender can follow it,
// and it is received with the time of its acceptance when the server is back.
func TestKept(t *testing.T) {
	p := prosodyWithUsers(t, keepsAll)
	h := startPosthorn(t, p, withStore(t)...).ready(t)
	if a := h.mustPost(t, "/msg/user", "before", nil); a.status != http.StatusCreated {
		t.Fatalf("answer is %d %s", a.status, a.raw)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	a := h.mustPost(t, "/msg/user", "while it was away", nil)
	if a.status != http.StatusAccepted || a.Status != "queued" || a.header.Get("Location") != "/messages/"+a.ID {
		t.Fatalf("answer is %d %s %v", a.status, a.raw, a.header)
	}
	if is := h.mustGet(t, a.header.Get("Location")); is.status != http.StatusOK || is.Status != "queued" {
		t.Fatalf("its standing is %d %s", is.status, is.raw)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	h.ready(t)
	xmpptest.Wait(t, 10*time.Second, "it is delivered", func() bool { return h.mustGet(t, a.header.Get("Location")).Status == "delivered" })
	user := p.MustLogin(t, "user@example.com", password)
	expect(t, user, "me@example.com", "before")
	m := expect(t, user, "me@example.com", "while it was away")
	if m.ID != a.ID || !strings.Contains(m.Raw, "from='post.example.com'") && !strings.Contains(m.Raw, `from="post.example.com"`) {
		t.Errorf("it does not say who has kept it: %s", m.Raw)
	}
	if stamp, err := time.Parse(time.RFC3339, m.Delay); err != nil || stamp.Sub(before).Abs() > time.Second {
		t.Errorf("it does not say when it was accepted: %s", m.Raw)
	}
}

// mustGet asks as me@example.com.
func (h *posthorn) mustGet(t testing.TB, path string) answer {
	t.Helper()
	return h.mustPost(t, path, "", func(r *http.Request) { r.Method = http.MethodGet })
}

// TestStalePasswords: while the server is away, who was verified lately may still
// send, and nobody else.
func TestStalePasswords(t *testing.T) {
	p := prosodyWithUsers(t, keepsAll)
	h := startPosthorn(t, p, append(withStore(t), "auth:\n", "auth:\n  cache: {ttl: 0s}\n")...).ready(t)
	if a := h.mustPost(t, "/msg/user", "before", nil); a.status != http.StatusCreated {
		t.Fatalf("answer is %d %s", a.status, a.raw)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		user, password string
		want           int
	}{
		{"me@example.com", password, http.StatusAccepted},
		{"me@example.com", "another", http.StatusServiceUnavailable},
		{"user@example.com", password, http.StatusServiceUnavailable},
	} {
		a := h.mustPost(t, "/msg/user", "while it was away", func(r *http.Request) { r.SetBasicAuth(test.user, test.password) })
		if a.status != test.want {
			t.Errorf("%s with %s: %d %s, want %d", test.user, test.password, a.status, a.raw, test.want)
		}
	}
}

// TestRepeated: a request with an idempotency key is sent once, however often it
// comes, with a restart between.
func TestRepeated(t *testing.T) {
	p := prosodyWithUsers(t, keepsAll)
	h := startPosthorn(t, p, withStore(t)...).ready(t)
	post := func(path, text, header, key string) answer {
		return h.mustPost(t, path, text, func(r *http.Request) { r.Header.Set(header, key) })
	}
	first := post("/msg/user", "once", "Idempotency-Key", "k1")
	if first.status != http.StatusCreated || first.Status != "delivered" {
		t.Fatalf("answer is %d %s", first.status, first.raw)
	}
	ghost := post("/msg/ghost", "to nobody", "Idempotency-Key", "k1")
	if ghost.status != http.StatusNotFound {
		t.Fatalf("answer is %d %s", ghost.status, ghost.raw)
	}
	two := post("/msg/user,ghost", "to two", "X-GitHub-Delivery", "k2")
	if two.status != http.StatusMultiStatus {
		t.Fatalf("answer is %d %s", two.status, two.raw)
	}
	for range 2 {
		for _, test := range []struct {
			path, text, header, key string
			want                    answer
		}{
			{"/msg/user", "once", "Idempotency-Key", "k1", first},
			{"/msg/ghost", "to nobody", "Idempotency-Key", "k1", ghost},
			{"/msg/user,ghost", "to two", "X-Gitea-Delivery", "k2", two},
		} {
			if a := post(test.path, test.text, test.header, test.key); a.status != test.want.status || a.raw != test.want.raw {
				t.Errorf("%s again: %d %s, want %s", test.path, a.status, a.raw, test.want.raw)
			}
		}
		if a := post("/msg/user", "another", "Idempotency-Key", "k1"); a.status != http.StatusUnprocessableEntity {
			t.Errorf("another text: %d %s", a.status, a.raw)
		}
		if err := h.Kill(); err != nil {
			t.Fatal(err)
		}
		h.start(t)
		h.ready(t)
	}
	if a := h.mustPost(t, "/msg/user", "the last", nil); a.status != http.StatusCreated {
		t.Fatalf("answer is %d %s", a.status, a.raw)
	}
	user := p.MustLogin(t, "user@example.com", password)
	if m := expect(t, user, "me@example.com", "once"); m.ID != first.ID || m.Delay != "" && strings.Contains(m.Raw, "post.example.com") {
		t.Errorf("the id is %q, want %q: %s", m.ID, first.ID, m.Raw)
	}
	expect(t, user, "me@example.com", "to two")
	expect(t, user, "me@example.com", "the last")
}

// TestKills: whatever was answered 201 or 202 is received, although posthorn is
// killed again and again in the middle of it; and only what it had on the stream
// then is received twice, with one id. `make soak` has the long form.
func TestKills(t *testing.T) { kills(t, 3) }

func kills(t *testing.T, n int) {
	p := prosodyWithUsers(t, keepsAll)
	p.Users(t, password, "you@example.com")
	h := startPosthorn(t, p, append(withStore(t), "log: {level: debug}", "log: {level: info}")...).ready(t)
	tr := &traffic{h: h, pause: 2 * time.Millisecond, dies: true}
	tr.start(t, 32, []string{"me@example.com", "you@example.com"}, toUserKept, toUserKeyed)
	for range n {
		tr.await(t, 50+rand.IntN(500), http.StatusCreated, http.StatusAccepted)
		if err := h.Kill(); err != nil {
			t.Fatal(err)
		}
		h.start(t)
	}
	h.ready(t)
	tr.finish()
	tr.compare(t, p.MustLogin(t, "user@example.com", password))
}

// TestKeptWhileAway: what is accepted while the server is not there is received when
// it is back, in the order in which each client sent it. `make soak` has the long
// form.
func TestKeptWhileAway(t *testing.T) {
	onBoth(t, func(t *testing.T, p *xmpptest.Server) { serverAway(t, p, 1000) })
}

func serverAway(t *testing.T, p *xmpptest.Server, accepted int) {
	h := startPosthorn(t, p, append(withStore(t), "log: {level: debug}", "log: {level: info}")...).ready(t)
	tr := startTraffic(t, h, 16, 5*time.Millisecond, justMe, toUserKept, toUserKeyed)
	tr.flows(t, 100)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	tr.await(t, accepted, http.StatusAccepted)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	tr.flows(t, 100)
	tr.finish()
	h.drained(t)
	tr.compare(t, p.MustLogin(t, "user@example.com", password))
}

// drained waits until nothing is kept.
func (h *posthorn) drained(t testing.TB) {
	t.Helper()
	xmpptest.Wait(t, time.Minute, "everything kept is sent", func() bool { return h.metric(t, "posthorn_delivery_kept_messages") == 0 })
}

// metric gives the value of a metric without labels.
func (h *posthorn) metric(t testing.TB, name string) float64 {
	t.Helper()
	response, err := http.Get(h.MetricsURL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if value, found := strings.CutPrefix(lines.Text(), name+" "); found {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}
