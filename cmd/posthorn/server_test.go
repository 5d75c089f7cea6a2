package main

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// TestBadInput: each has its status and one line that says why, and none
// reaches the server.
func TestBadInput(t *testing.T) { onBoth(t, testBadInput) }

func testBadInput(t *testing.T, p *xmpptest.Server) {
	h := startPosthorn(t, p).ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	as := func(name, word string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(name, word) }
	}
	typed := func(contentType string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Content-Type", contentType) }
	}
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	json := typed("application/json")
	for _, test := range []struct {
		name, path, body string
		change           func(*http.Request)
		want             int
		detail           string // part of it
	}{
		{"no Authorization", "/msg/user", "x", func(r *http.Request) { r.Header.Del("Authorization") }, 401, ""},
		{"malformed Authorization", "/msg/user", "x", header("Authorization", "Basic"), 401, ""},
		{"not base64", "/msg/user", "x", header("Authorization", "Basic %%%"), 401, ""},
		{"a name that is no JID", "/msg/user", "x", as("a b@example.com", password), 401, ""},
		{"NUL in the password", "/msg/user", "x", as("me", "a\x00b"), 401, ""},
		{"a host that is not served", "/msg/user", "x", as("me@elsewhere.example", password), 401, ""},
		{"unknown account", "/msg/user", "x", as("ghost@example.com", password), 401, ""},
		{"wrong password", "/msg/user", "x", as("me@example.com", "wrong"), 401, ""},
		{"another's resource", "/msg/user", "x", as("me@example.com/phone", "wrong"), 401, ""},
		{"no recipient", "/msg", "x", nil, 422, "to"},
		{"empty recipient", "/msg", `{"to":"","body":"x"}`, json, 422, "to"},
		{"malformed recipient", "/msg/a%20b@example.com", "x", nil, 422, "to"},
		{"a configured domain", "/msg/example.com", "x", nil, 422, "to"},
		{"the component's own domain", "/msg/x@post.example.com", "x", nil, 422, "to"},
		{"the component itself", "/msg/post.example.com", "x", nil, 422, "to"},
		{"an array with one bad entry", "/msg", `{"to":["user","@"],"body":"x"}`, json, 422, "to"},
		{"a room without a domain", "/msg/room?type=groupchat", "x", nil, 422, "room"},
		{"no body", "/msg/user", "", nil, 422, "body"},
		{"too large a body", "/msg/user", strings.Repeat("x", 70000), nil, 413, ""},
		{"a control character", "/msg/user", "a\x01b", nil, 422, "U+0001"},
		{"U+FFFE", "/msg/user", "a\ufffeb", nil, 422, "U+FFFE"},
		{"a control character in JSON", "/msg/user", `{"body":"a\u0000b"}`, json, 422, "U+0000"},
		{"invalid UTF-8", "/msg/user", "a\xffb", nil, 422, ""},
		{"JSON of the wrong shape", "/msg/user", `{"body":["x"]}`, json, 422, "body"},
		{"JSON that is none", "/msg/user", `{"body":`, json, 400, "JSON"},
		{"a JSON array", "/msg/user", `["x"]`, json, 422, ""},
		{"deep JSON", "/msg/user", `{"x":` + strings.Repeat("[", 30000) + strings.Repeat("]", 30000) + `,"body":"x"}`, json, 400, "JSON"},
		{"duplicate keys", "/msg/user", `{"body":"x","body":"y"}`, json, 422, "body"},
		{"unknown type", "/msg/user", `{"body":"x","type":"shout"}`, json, 422, "type"},
		{"unknown charset", "/msg/user", "x", typed("text/plain; charset=klingon"), 415, ""},
		{"unknown media type", "/msg/user", "x", typed("image/png"), 415, ""},
		{"compressed", "/msg/user", "x", header("Content-Encoding", "gzip"), 415, ""},
		{"a page of another origin", "/msg/user", "x", header("Sec-Fetch-Site", "cross-site"), 403, ""},
		{"a long path", "/msg/" + strings.Repeat("a", 20000), "x", nil, 422, "to"},
		{"GET", "/msg/user", "", func(r *http.Request) { r.Method = "GET" }, 405, ""},
		{"DELETE", "/msg/user", "", func(r *http.Request) { r.Method = "DELETE" }, 405, ""},
		{"no such path", "/msgs/user", "x", nil, 404, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := h.mustPost(t, test.path, test.body, test.change)
			if a.status != test.want || !strings.Contains(a.Detail, test.detail) || a.Detail == "" || strings.Contains(a.Detail, "\n") {
				t.Errorf("answer is %d %s, want %d with %q in its detail", a.status, a.raw, test.want, test.detail)
			}
			if test.want == 401 && a.header.Get("WWW-Authenticate") == "" {
				t.Error("401 without WWW-Authenticate")
			}
			if test.want == 405 && a.header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
			if strings.Contains(a.raw, password) {
				t.Errorf("the password stands in %s", a.raw)
			}
		})
	}
	h.mustPost(t, "/msg/user", "the last", nil)
	expect(t, user, "me@example.com", "the last")
	if log := h.log.String(); strings.Contains(log, "stream lost") {
		t.Errorf("the stream ended:\n%s", log)
	}
}

// TestWrongPasswordLooksLikeUnknownAccount: one answer for both, and for a
// host that is not served.
func TestWrongPasswordLooksLikeUnknownAccount(t *testing.T) {
	onBoth(t, testWrongPasswordLooksLikeUnknownAccount)
}

func testWrongPasswordLooksLikeUnknownAccount(t *testing.T, p *xmpptest.Server) {
	h := startPosthorn(t, p).ready(t)
	var answers []string
	for _, name := range []string{"me@example.com", "ghost@example.com", "me@elsewhere.example"} {
		a := h.mustPost(t, "/msg/user", "x", func(r *http.Request) { r.SetBasicAuth(name, "wrong") })
		answers = append(answers, fmt.Sprint(a.status, a.raw, a.header.Get("WWW-Authenticate")))
	}
	if answers[0] != answers[1] || answers[0] != answers[2] {
		t.Fatalf("three different answers:\n%s", strings.Join(answers, "\n"))
	}
}

// TestServerAway: 503 while the server is stopped, and ready again by itself.
func TestServerAway(t *testing.T) { onBoth(t, testServerAway) }

func testServerAway(t *testing.T, p *xmpptest.Server) {
	h := startPosthorn(t, p).ready(t)
	h.mustPost(t, "/msg/user", "stored by the server", nil)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	xmpptest.Wait(t, 10*time.Second, "the stream is down", func() bool { return h.status("/readyz") == http.StatusServiceUnavailable })
	for _, text := range []string{"known credentials", "the same again"} {
		if a := h.mustPost(t, "/msg/user", text, nil); a.status != 503 || a.header.Get("Retry-After") == "" {
			t.Fatalf("answer is %d %s, want 503 with Retry-After", a.status, a.raw)
		}
	}
	if a := h.mustPost(t, "/msg/user", "x", func(r *http.Request) { r.SetBasicAuth("me", "not checked before") }); a.status != 503 {
		t.Fatalf("a password that cannot be checked: %d %s, want 503", a.status, a.raw)
	}
	if got := h.status("/healthz"); got != http.StatusOK {
		t.Fatalf("healthz is %d while the server is away", got)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	h.ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	expect(t, user, "me@example.com", "stored by the server")
	if a := h.mustPost(t, "/msg/user", "after", nil); a.status != 201 {
		t.Fatalf("answer is %d %s", a.status, a.raw)
	}
	expect(t, user, "me@example.com", "after")
}

// TestFrozenServer: a server that holds its connections and says nothing.
func TestFrozenServer(t *testing.T) { onBoth(t, testFrozenServer) }

func testFrozenServer(t *testing.T, p *xmpptest.Server) {
	h := startPosthorn(t, p, "log:", "delivery: {confirm_timeout: 1s}\nlog:").ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	h.mustPost(t, "/msg/user", "before", nil)
	expect(t, user, "me@example.com", "before")
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	if a := h.mustPost(t, "/msg/user", "meanwhile", nil); a.status != 504 || a.header.Get("Retry-After") == "" {
		t.Errorf("answer is %d %s, want 504 with Retry-After", a.status, a.raw)
	}
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	expect(t, user, "me@example.com", "meanwhile")
	xmpptest.Wait(t, 10*time.Second, "messages are confirmed again", func() bool {
		return h.mustPost(t, "/msg/user", "after", nil).status == 201
	})
}

// TestManyClients: what 64 clients are told was delivered is received, once
// each, from the right sender.
func TestManyClients(t *testing.T) { onBoth(t, testManyClients) }

func testManyClients(t *testing.T, p *xmpptest.Server) {
	const clients, each = 64, 20
	h := startPosthorn(t, p).ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	var wait sync.WaitGroup
	for c := range clients {
		wait.Go(func() {
			for n := range each {
				a, err := h.post("/msg/user", fmt.Sprintf("%d/%d", c, n), nil)
				if err != nil || a.status != 201 || a.Status != h.expected.local {
					t.Errorf("answer is %d %s, %v", a.status, a.raw, err)
				}
			}
		})
	}
	wait.Wait()
	received := make(map[string]int)
	for range clients * each {
		m := user.MustReceive(t)
		received[m.Body]++
		if m.From != "me@example.com" {
			t.Fatalf("received a message from %q", m.From)
		}
	}
	h.mustPost(t, "/msg/user", "the last", nil)
	expect(t, user, "me@example.com", "the last")
	for c := range clients {
		for n := range each {
			if got := received[fmt.Sprintf("%d/%d", c, n)]; got != 1 {
				t.Errorf("%d/%d was received %d times", c, n, got)
			}
		}
	}
}

// TestUnknownRecipient: where the server tells that it would not deliver, the
// answer does too.
func TestUnknownRecipient(t *testing.T) { onBoth(t, testUnknownRecipient) }

func testUnknownRecipient(t *testing.T, p *xmpptest.Server) {
	h := startPosthorn(t, p).ready(t)
	for _, to := range []string{"ghost", "ghost@example.com/phone"} {
		a := h.mustPost(t, "/msg/"+to, "x", nil)
		if a.status != h.expected.ghost || !strings.Contains(a.raw, h.expected.ghostSays) {
			t.Errorf("to %s the answer is %d %s", to, a.status, a.raw)
		}
	}
}

// TestSeveralRecipients: each has its own outcome.
func TestSeveralRecipients(t *testing.T) { onBoth(t, testSeveralRecipients) }

func testSeveralRecipients(t *testing.T, p *xmpptest.Server) {
	h := startPosthorn(t, p).ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	a := h.mustPost(t, "/msg/user,ghost", "to two", nil)
	if a.status != h.expected.toTwo || !strings.Contains(a.raw, fmt.Sprintf(`"to":"user@example.com","status":%q`, h.expected.local)) {
		t.Fatalf("answer is %d %s", a.status, a.raw)
	}
	expect(t, user, "me@example.com", "to two")
	if a := h.mustPost(t, "/msg/user,me", "to two", nil); a.status != 201 {
		t.Fatalf("answer is %d %s", a.status, a.raw)
	}
	expect(t, user, "me@example.com", "to two")
}

// TestTakeover: a posthorn that is frozen does not keep the component. On
// ejabberd two may have it at the same time.
func TestTakeover(t *testing.T) {
	p := prosodyWithUsers(t, xmpptest.Options{})
	first := startPosthorn(t, p).ready(t)
	if err := first.Pause(); err != nil {
		t.Fatal(err)
	}
	second := startPosthorn(t, p).ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	if a := second.mustPost(t, "/msg/user", "from the second", nil); a.status != 201 {
		t.Fatalf("answer is %d %s", a.status, a.raw)
	}
	expect(t, user, "me@example.com", "from the second")
	if err := first.Resume(); err != nil {
		t.Fatal(err)
	}
	xmpptest.Wait(t, 10*time.Second, "the first notices that it was replaced", func() bool {
		a, err := first.post("/msg/user", "x", nil)
		return err == nil && a.status == 503
	})
	if a := second.mustPost(t, "/msg/user", "still here", nil); a.status != 201 {
		t.Fatalf("the second lost the stream again: %d %s", a.status, a.raw)
	}
}

// TestStop: what is in flight when posthorn is told to stop is answered.
func TestStop(t *testing.T) { onBoth(t, testStop) }

func testStop(t *testing.T, p *xmpptest.Server) {
	h := startPosthorn(t, p).ready(t)
	h.mustPost(t, "/msg/user", "before", nil)
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	answers := make(chan answer, 1)
	go func() {
		a, err := h.post("/msg/user", "in flight", nil)
		if err != nil {
			t.Error(err)
		}
		answers <- a
	}()
	xmpptest.Wait(t, 10*time.Second, "the message is written", func() bool { return strings.Contains(h.metrics(t), "posthorn_component_batch_messages_sum 2") })
	stopped := make(chan error, 1)
	go func() { stopped <- h.Stop() }()
	xmpptest.Wait(t, 10*time.Second, "posthorn stops listening", func() bool { return h.status("/healthz") == 0 })
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	if a := <-answers; a.status != 201 {
		t.Errorf("answer is %d %s", a.status, a.raw)
	}
	if err := <-stopped; err != nil || h.Err() != nil {
		t.Errorf("stopped with %v, %v", err, h.Err())
	}
}

// metrics gives the metrics as text, or nothing.
func (h *posthorn) metrics(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("curl", "-s", h.MetricsURL+"/metrics").Output()
	if err != nil {
		return ""
	}
	return string(out)
}

// TestPrivilege: with the privilege in place of direct mode, messages arrive
// all the same, the sender's other clients get a copy, and the answer says no
// more than is known.
func TestPrivilege(t *testing.T) { onBoth(t, testPrivilege, xmpptest.Privilege) }

func testPrivilege(t *testing.T, p *xmpptest.Server) {
	for _, mode := range []string{"auto", "privilege"} {
		t.Run(mode, func(t *testing.T) {
			h := startPosthorn(t, p, "component:\n", "component:\n  mode: "+mode+"\n").ready(t)
			user := p.MustLogin(t, "user@example.com", password)
			me := p.MustLoginWithCarbons(t, "me@example.com", password)
			a := h.mustPost(t, "/msg/user", "by privilege", nil)
			if a.status != 201 || a.Status != "routed" {
				t.Fatalf("answer is %d %s, want routed", a.status, a.raw)
			}
			if m := expect(t, user, "me@example.com", "by privilege"); m.ID != a.ID {
				t.Errorf("the id is %q, want %q", m.ID, a.ID)
			}
			me.MustSend(t, `<message to='me@example.com'><body>after the copy</body></message>`)
			want := "by privilege"
			if !h.expected.copies {
				want = "after the copy"
			}
			if m := expect(t, me, "me@example.com", want); h.expected.copies && m.Carbon != "sent" {
				t.Errorf("the sender's other client got %s", m.Raw)
			}
			if err := h.Stop(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
