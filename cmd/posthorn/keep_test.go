package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
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
	for i := range n {
		tr.await(t, 1+rand.IntN(500), http.StatusCreated, http.StatusAccepted)
		away := i%2 == 1 // then the next kill may come while what was kept is sent
		if away {
			if err := p.Stop(); err != nil {
				t.Fatal(err)
			}
			tr.await(t, 200, http.StatusAccepted)
		}
		if err := h.Kill(); err != nil {
			t.Fatal(err)
		}
		if away {
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
		}
		h.start(t)
	}
	h.ready(t)
	tr.finish()
	h.drained(t)
	tr.compare(t, p.MustLogin(t, "user@example.com", password))
}

// TestKeptWhileAway: what is accepted while the server is not there is received when
// it is back, in the order in which each client sent it. `make soak` has the long
// form.
func TestKeptWhileAway(t *testing.T) {
	onBoth(t, func(t *testing.T, p *xmpptest.Server) { serverAway(t, p, 1000, 5*time.Millisecond, 0) })
}

// serverAway takes the server away until that many messages are kept, and for that
// long at least.
func serverAway(t *testing.T, p *xmpptest.Server, accepted int, pause, away time.Duration) {
	h := startPosthorn(t, p, append(withStore(t), "log: {level: debug}", "log: {level: info}")...).ready(t)
	tr := startTraffic(t, h, 16, pause, justMe, toUserKept, toUserKeyed)
	tr.flows(t, 100)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	earliest := time.After(away)
	tr.await(t, accepted, http.StatusAccepted)
	<-earliest
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
	asking := http.Client{Timeout: 10 * time.Second}
	response, err := asking.Get(h.MetricsURL + "/metrics")
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

// TestFrozen: a server that has taken a message and says nothing may have delivered
// it. Its sender is told that it is queued; it is received once when the server
// goes on, and what comes after it waits behind it.
func TestFrozen(t *testing.T) {
	p := prosodyWithUsers(t, keepsAll)
	h := startPosthorn(t, p, append(withStore(t), "log: {level: debug}", "log: {level: debug}\ndelivery: {confirm_timeout: 500ms}")...).ready(t)
	if a := h.mustPost(t, "/msg/user", "0", nil); a.status != http.StatusCreated {
		t.Fatalf("answer is %d %s", a.status, a.raw)
	}
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if a := h.mustPost(t, "/msg/user", fmt.Sprint(i+1), nil); a.status != http.StatusAccepted {
			t.Errorf("message %d: %d %s", i+1, a.status, a.raw)
		}
	}
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	h.drained(t)
	if a := h.mustPost(t, "/msg/user", "4", nil); a.status != http.StatusCreated {
		t.Fatalf("answer is %d %s", a.status, a.raw)
	}
	user := p.MustLogin(t, "user@example.com", password)
	for i := range 5 {
		expect(t, user, "me@example.com", fmt.Sprint(i))
	}
}

// TestExpires: what is not worth sending any more is given up, for everybody to
// see.
func TestExpires(t *testing.T) {
	p := prosodyWithUsers(t, keepsAll)
	h := startPosthorn(t, p, withStore(t)...).ready(t)
	h.mustPost(t, "/msg/user", "before", nil)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	short := h.mustPost(t, "/msg/user?ttl=1", "soon stale", nil)
	long := h.mustPost(t, "/msg/user?ttl=1h", "still good", nil)
	for _, a := range []answer{short, long} {
		if a.status != http.StatusAccepted {
			t.Fatalf("answer is %d %s", a.status, a.raw)
		}
	}
	xmpptest.Wait(t, 10*time.Second, "it expires", func() bool { return h.mustGet(t, "/messages/"+short.ID).Status == "expired" })
	if n := h.metric(t, "posthorn_delivery_expired_total"); n != 1 || !strings.Contains(h.log.String(), short.ID) {
		t.Errorf("%v are counted", n)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	h.ready(t)
	h.drained(t)
	h.mustPost(t, "/msg/user", "after", nil)
	user := p.MustLogin(t, "user@example.com", password)
	for _, text := range []string{"before", "still good", "after"} {
		expect(t, user, "me@example.com", text)
	}
}

// TestOthersMessages: what became of a message is its sender's alone to know.
func TestOthersMessages(t *testing.T) {
	p := prosodyWithUsers(t, keepsAll)
	h := startPosthorn(t, p, withStore(t)...).ready(t)
	as := func(user, given string) func(*http.Request) {
		return func(r *http.Request) {
			r.SetBasicAuth(user, given)
			r.Header.Set("Idempotency-Key", "k")
		}
	}
	a := h.mustPost(t, "/msg/user?id=a%2Fb", "hello", as("me@example.com", password))
	if a.status != http.StatusCreated || a.ID != "a/b" {
		t.Fatalf("answer is %d %s", a.status, a.raw)
	}
	for _, test := range []struct {
		user, password, path string
		want                 int
	}{
		{"me@example.com", password, "/messages/a%2Fb", http.StatusOK},
		{"me@example.com", password, "/messages/a/b", http.StatusOK},
		{"me@example.com", password, "/messages/other", http.StatusNotFound},
		{"user@example.com", password, "/messages/a%2Fb", http.StatusNotFound},
		{"me@example.com", "wrong", "/messages/a%2Fb", http.StatusUnauthorized},
	} {
		got := h.mustPost(t, test.path, "", func(r *http.Request) {
			r.Method = http.MethodGet
			r.SetBasicAuth(test.user, test.password)
		})
		if got.status != test.want {
			t.Errorf("%s asks for %s: %d %s, want %d", test.user, test.path, got.status, got.raw, test.want)
		}
	}
}

// TestRoomKept: a message to a room is kept like any other, and confirmed by the
// room.
func TestRoomKept(t *testing.T) {
	onBoth(t, func(t *testing.T, p *xmpptest.Server) {
		h := startPosthorn(t, p, withStore(t)...).ready(t)
		r := openRoom(t, p.MustLogin(t, "user@example.com", password), "ops", map[string]string{"muc#roomconfig_persistentroom": "1"})
		if a := h.mustPost(t, "/msg/"+r.address()+"?type=groupchat", "before", nil); a.status != http.StatusCreated {
			t.Fatalf("answer is %d %s", a.status, a.raw)
		}
		if err := p.Stop(); err != nil {
			t.Fatal(err)
		}
		kept, ghost := h.mustPost(t, "/msg/"+r.address()+"?type=groupchat", "kept", nil), h.mustPost(t, "/msg/ghost@"+rooms+"?type=groupchat", "kept", nil)
		if kept.status != http.StatusAccepted || ghost.status != http.StatusAccepted {
			t.Fatalf("answers are %d %s, %d %s", kept.status, kept.raw, ghost.status, ghost.raw)
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		h.ready(t)
		xmpptest.Wait(t, 20*time.Second, "the room has it", func() bool { return h.mustGet(t, "/messages/"+kept.ID).Status == "delivered" })
		xmpptest.Wait(t, 20*time.Second, "there is no such room", func() bool { return h.mustGet(t, "/messages/"+ghost.ID).Status == "bounced" })
	})
}

// TestMuteIsNotKept: what cannot be sent before somebody changes a configuration is
// refused, with what to change.
func TestMuteIsNotKept(t *testing.T) {
	p := xmpptest.StartProsody(t, xmpptest.Options{Component: []xmpptest.Edit{xmpptest.Replace("validate_from_addresses = false", "")}})
	p.Users(t, password, "me@example.com", "user@example.com")
	h := startPosthorn(t, &p.Server, withStore(t)...)
	xmpptest.Wait(t, 20*time.Second, "the stream is up", func() bool { return strings.Contains(h.mustGet(t, "/healthz").raw, `"stream":"up"`) })
	for _, key := range []string{"", "k", "k"} {
		a := h.mustPost(t, "/msg/user", "x", func(r *http.Request) {
			if key != "" {
				r.Header.Set("Idempotency-Key", key)
			}
		})
		if a.status != http.StatusServiceUnavailable || !strings.Contains(a.Detail, "posthorn check") {
			t.Errorf("with the key %q: %d %s", key, a.status, a.raw)
		}
	}
}

// TestOutboxCommand: the administrator sees what is kept, and changes it beside the
// running service.
func TestOutboxCommand(t *testing.T) {
	p := prosodyWithUsers(t, keepsAll)
	h := startPosthorn(t, p, withStore(t)...).ready(t)
	run := func(want int, args ...string) string {
		t.Helper()
		var out bytes.Buffer
		cmd := exec.Command("posthorn", append([]string{"outbox", "--config", h.Config}, args...)...)
		cmd.Stdout, cmd.Stderr = &out, &out
		if _ = cmd.Run(); cmd.ProcessState.ExitCode() != want {
			t.Errorf("outbox %v: %v\n%s", args, cmd.ProcessState, out.String())
		}
		return out.String()
	}
	h.mustPost(t, "/msg/user", "before", nil)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	keep, drop := h.mustPost(t, "/msg/user", "keep this secret text", nil), h.mustPost(t, "/msg/user", "drop", nil)
	if out := run(exitOK, "list"); !strings.Contains(out, keep.ID) || !strings.Contains(out, drop.ID) || !strings.Contains(out, "me@example.com") || strings.Contains(out, "secret") {
		t.Errorf("list prints\n%s", out)
	}
	if out := run(exitOK, "drop", drop.ID); out != "1 of 1 messages dropped\n" {
		t.Errorf("drop prints %q", out)
	}
	xmpptest.Wait(t, 10*time.Second, "the service sees it", func() bool { return h.metric(t, "posthorn_delivery_kept_messages") == 1 })
	var shown struct{ ID, State, Error string }
	if err := json.Unmarshal([]byte(run(exitOK, "show", "--json", drop.ID)), &shown); err != nil || shown.State != "expired" || shown.Error != "dropped by the administrator" {
		t.Errorf("show prints %+v, %v", shown, err)
	}
	if out := run(exitOK, "retry", "--all"); out != "0 of 1 messages will be tried at once\n" {
		t.Errorf("retry prints %q", out)
	}
	run(exitFailed, "show", "unknown")
	run(exitFailed, "drop", "unknown")
	run(exitUsage, "drop")
	run(exitUsage, "drop", keep.ID, "--all")
	run(exitUsage, "lose", keep.ID)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	h.ready(t)
	h.drained(t)
	if out := run(exitOK, "list", "--json"); out != "" {
		t.Errorf("list prints %s", out)
	}
	h.mustPost(t, "/msg/user", "after", nil)
	user := p.MustLogin(t, "user@example.com", password)
	for _, text := range []string{"before", "keep this secret text", "after"} {
		expect(t, user, "me@example.com", text)
	}
}

// TestStoreInUse: two services with one store would send everything twice.
func TestStoreInUse(t *testing.T) {
	p := prosodyWithUsers(t, keepsAll)
	h := startPosthorn(t, p, withStore(t)...).ready(t)
	out, err := exec.Command("posthorn", "serve", "--config", h.Config).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "in use by another posthorn") {
		t.Errorf("a second one: %v\n%s", err, out)
	}
}

// TestDamagedStore: posthorn says what is wrong, and serves those whose messages
// need not be kept.
func TestDamagedStore(t *testing.T) {
	p := prosodyWithUsers(t, keepsAll)
	file := filepath.Join(t.TempDir(), "posthorn.db")
	if err := os.WriteFile(file, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	h := startPosthorn(t, p, `store: ""`, fmt.Sprintf("store: %q", "sqlite:"+file)).ready(t)
	if a := h.mustPost(t, "/msg/user", "x", nil); a.status != http.StatusCreated {
		t.Errorf("answer is %d %s", a.status, a.raw)
	}
	a := h.mustPost(t, "/msg/user", "x", func(r *http.Request) { r.Header.Set("Idempotency-Key", "k") })
	if a.status != http.StatusServiceUnavailable || !strings.Contains(h.log.String(), "is damaged") || !strings.Contains(h.mustGet(t, "/healthz").raw, `"store":"failing"`) {
		t.Errorf("answer is %d %s", a.status, a.raw)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	xmpptest.Wait(t, 10*time.Second, "it begins a new one", func() bool { return strings.Contains(h.mustGet(t, "/healthz").raw, `"store":"ok"`) })
}
