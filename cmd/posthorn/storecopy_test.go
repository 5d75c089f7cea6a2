package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/message"
	"posthorn/internal/pgtest"
	"posthorn/internal/store"
	"posthorn/internal/xmpptest"
)

// TestStoreCopy: what was kept in SQLite goes to PostgreSQL and back, and a posthorn on
// the copy sends it in order, knows what was sent, and what its tokens are.
func TestStoreCopy(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0") // else each of many commands takes a second to end
	second := pgtest.Start(t, pgtest.Options{}).NewDatabase(t)
	first, last := "sqlite:"+filepath.Join(t.TempDir(), "posthorn.db"), "sqlite:"+filepath.Join(t.TempDir(), "posthorn.db")
	p := prosodyWithUsers(t, keepsAll)
	h := startPosthorn(t, p, `store: ""`, fmt.Sprintf("store: %q", first)).ready(t)
	token := strings.TrimSpace(h.by(t, first, "token", "create", "--for", "me@example.com", "--name", "script"))
	keyed := func(r *http.Request) { r.Header.Set("Idempotency-Key", "k1") }
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	once := h.mustPost(t, "/msg/user", "once", keyed)
	original := h.mustPost(t, "/msg/user?update=disk", "disk full", nil)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	var kept []string
	for n := range 10 {
		kept = append(kept, h.mustPost(t, "/msg/user", fmt.Sprint("kept ", n), bearer).ID)
	}
	if out, err := copyCommand(first, second); err == nil || !strings.Contains(out, "is in use by another posthorn") {
		t.Errorf("a database that is in use is copied: %v, %s", err, out)
	}
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	unsettle(t, strings.TrimPrefix(first, "sqlite:"), map[string]message.State{kept[3]: message.Unconfirmed, kept[5]: message.Waiting})

	want := h.listed(t, first, once.ID)
	for _, way := range [][2]string{{first, second}, {second, last}} {
		if out, err := copyCommand(way[0], way[1]); err != nil || out != "11 messages, 1 tokens and 1 ids that updates need were copied\n" {
			t.Fatalf("%v: %s", err, out)
		}
		if diff := cmp.Diff(want, h.listed(t, way[1], once.ID)); diff != "" {
			t.Error(diff)
		}
		if out, err := copyCommand(way[0], way[1]); err == nil || strings.Count(out, "\n") != 1 {
			t.Errorf("what has something is copied to: %v, %s", err, out)
		}
	}
	text, err := os.ReadFile(h.Config)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, h.Config, strings.Replace(string(text), first, last, 1))
	h.start(t)
	xmpptest.Wait(t, 10*time.Second, "what was unconfirmed is in line", func() bool {
		return !strings.Contains(h.by(t, last, "outbox", "list"), string(message.Unconfirmed))
	})
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	user := p.MustLogin(t, "user@example.com", password)
	for _, text := range []string{"once", "disk full", "kept 0", "kept 1", "kept 2", "kept 3", "kept 4", "kept 6", "kept 7", "kept 8", "kept 9"} {
		expect(t, user, "me@example.com", text)
	}
	h.ready(t).by(t, last, "outbox", "retry", kept[5])
	expect(t, user, "me@example.com", "kept 5")
	if again := h.mustPost(t, "/msg/user", "once", keyed); again.status != http.StatusCreated || again.ID != once.ID {
		t.Errorf("what was sent is sent again: %d %s", again.status, again.raw)
	}
	h.mustPost(t, "/msg/user?update=disk", "disk is fine", bearer)
	if m := expect(t, user, "me@example.com", "disk is fine"); m.Replace != original.ID {
		t.Errorf("it corrects %q, want %q", m.Replace, original.ID)
	}
}

// copyCommand runs posthorn store copy, with the password where nobody else sees it.
func copyCommand(from, to string) (string, error) {
	cmd := exec.Command("posthorn", "store", "copy", from, to)
	cmd.Env = os.Environ()
	for i, arg := range cmd.Args {
		if u, err := url.Parse(arg); err == nil && u.User != nil {
			password, _ := u.User.Password()
			u.User = url.User(u.User.Username())
			cmd.Args[i], cmd.Env = u.String(), append(cmd.Env, "PGPASSWORD="+password)
		}
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// by runs a command with h's configuration and that store.
func (h *posthorn) by(t *testing.T, where string, args ...string) string {
	t.Helper()
	cmd := exec.Command("posthorn", append(args, "--config", h.Config)...)
	cmd.Env = append(os.Environ(), "POSTHORN_STORE="+where)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", args, err)
	}
	return string(out)
}

// listed is all that an administrator sees of what a store has.
func (h *posthorn) listed(t *testing.T, where, id string) (all []string) {
	for _, command := range []string{"outbox list --json", "outbox show " + id + " --json", "token list --json"} {
		all = append(all, h.by(t, where, strings.Fields(command)...))
	}
	return all
}

// unsettle changes the states of messages in line.
func unsettle(t *testing.T, file string, states map[string]message.State) {
	t.Helper()
	s := store.New(store.Options{Path: file})
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer start(s.Run)()
	records, err := s.Select(t.Context(), message.Query{Open: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if state, changed := states[r.ID]; changed {
			before := r.State
			r.State, r.Wake = state, time.Now().Add(time.Hour)
			if _, err := s.Settle(t.Context(), []message.Change{{Record: r, Before: before}}); err != nil {
				t.Fatal(err)
			}
		}
	}
}
