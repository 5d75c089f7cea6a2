package main

import (
	"fmt"
	"net/http"
	"path/filepath"
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
	if !strings.Contains(m.Raw, "urn:xmpp:delay") || !strings.Contains(m.Raw, "post.example.com") {
		t.Errorf("it does not say when it was accepted: %s", m.Raw)
	}
}

// mustGet asks as me@example.com.
func (h *posthorn) mustGet(t testing.TB, path string) answer {
	t.Helper()
	return h.mustPost(t, path, "", func(r *http.Request) { r.Method = http.MethodGet })
}
