package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestSend: what a script sends arrives, through a real server, and what does not is
// told by the exit status.
func TestSend(t *testing.T) {
	p := servers[0].start(t)
	p.Users(t, password, "me@example.com", "user@example.com", "owner@example.com")
	socket := filepath.Join(t.TempDir(), "http.sock")
	h := startPosthorn(t, p,
		"listen: [", fmt.Sprintf("listen: [%q, ", "unix:"+socket),
		`store: ""`, fmt.Sprintf("store: %q", "sqlite:"+filepath.Join(t.TempDir(), "posthorn.db"))).ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	me := as(h.URL)
	ends := func(t *testing.T, s *sender, want int, wantErr string, args ...string) {
		t.Helper()
		if status, stdout, stderr := s.run(t, args...); status != want || stdout != "" || !strings.Contains(stderr, wantErr) || wantErr == "" && stderr != "" {
			t.Fatalf("status %d, want %d: %q %q", status, want, stdout, stderr)
		}
	}
	t.Run("to a person", func(t *testing.T) {
		ends(t, me, 0, "", "-s", "Prüfung & more", "user@example.com", "Grüße", "an alle")
		if m := expect(t, user, "me@example.com", "Grüße an alle"); m.Subject != "Prüfung & more" || m.Type != "chat" {
			t.Errorf("received %s", m.Raw)
		}
	})
	t.Run("what comes on standard input, over a socket", func(t *testing.T) {
		from := as("unix:" + socket)
		from.stdin = strings.NewReader("first\nsecond\n")
		ends(t, from, 0, "", "user")
		expect(t, user, "me@example.com", "first\nsecond\n")
	})
	t.Run("once for each key", func(t *testing.T) {
		for range 2 {
			ends(t, me, 0, "", "--key", "backup-1", "user", "only once")
		}
		ends(t, me, 0, "", "user", "the next")
		expect(t, user, "me@example.com", "only once")
		expect(t, user, "me@example.com", "the next")
	})
	t.Run("to a room", func(t *testing.T) {
		r := openRoom(t, p.MustLogin(t, "owner@example.com", password), "send", nil)
		ends(t, me, 0, "", "-c", "-r", "TheCook", r.address(), "Dinner Time")
		if nick, _ := r.hears(t, "Dinner Time"); nick != "TheCook (me)" {
			t.Errorf("%q said it", nick)
		}
	})
	t.Run("a webhook's payload", func(t *testing.T) {
		from := as(h.URL)
		from.stdin = strings.NewReader(`{"title":"backup","message":"done"}`)
		ends(t, from, 0, "", "--hook", "json", "user")
		if m := user.MustReceive(t); !strings.Contains(m.Body, "done") {
			t.Errorf("received %s", m.Raw)
		}
	})
	t.Run("to one of two", func(t *testing.T) {
		ends(t, me, 1, "posthorn: send: ghost@example.com: ", "user,ghost", "to two")
		expect(t, user, "me@example.com", "to two")
	})
	t.Run("more than is taken", func(t *testing.T) {
		from := as(h.URL)
		from.stdin = strings.NewReader(strings.Repeat("x", 1<<20))
		ends(t, from, 1, "posthorn: send: the body is larger than 65536 bytes: with ?attach=1 in the URL, text goes as a file\n", "user")
	})
	t.Run("a wrong password", func(t *testing.T) {
		wrong := as(h.URL)
		wrong.env = append(wrong.env, "POSTHORN_PASSWORD=wrong")
		ends(t, wrong, 1, "posthorn: send: ", "user", "never")
	})
	t.Run("a service that is stopped", func(t *testing.T) {
		if err := h.Stop(); err != nil {
			t.Fatal(err)
		}
		ends(t, me, 75, "connection refused\nhint: is posthorn running there?", "user", "never")
		h.start(t)
		h.ready(t)
		ends(t, me, 0, "", "user", "the last")
		expect(t, user, "me@example.com", "the last")
	})
}
