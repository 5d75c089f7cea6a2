package main

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"posthorn/internal/message"
	"posthorn/internal/pgtest"
	"posthorn/internal/secret"
	"posthorn/internal/store"
)

// TestReportLease: who sends, and who is taken to hold the component's domain.
func TestReportLease(t *testing.T) {
	for _, test := range []struct {
		lease        message.Lease
		begins, part string
		holder       string
	}{
		{message.Lease{}, "ok lease", "no posthorn has had the stream yet", ""},
		{message.Lease{Term: 3, Left: -time.Hour}, "ok lease", "the last one has given it back", ""},
		{message.Lease{Holder: "a", Term: 3, Left: -90 * time.Second}, "ok lease", "a had it, until 1m30s ago", ""},
		{message.Lease{Holder: "a", Term: 3, Left: 4 * time.Second, Stream: "up"}, "ok lease", "a has the stream, which is up, for another 4s", "a"},
		{message.Lease{Holder: "a", Term: 3, Left: time.Second, Stream: "refused"}, "warning lease", "a has it, and its stream is refused", ""},
		{message.Lease{Holder: "a", Term: 3, Left: time.Second}, "warning lease", "its stream is not known yet", "a"},
	} {
		var holder string
		got := findings(t, func(r *report) { holder = reportLease(r, test.lease) })
		if wantFinding(t, got, test.begins, test.part); holder != test.holder {
			t.Errorf("%+v: %q holds the domain, want %q", test.lease, holder, test.holder)
		}
	}
}

// TestIsOpen: which connections others may read, or answer.
func TestIsOpen(t *testing.T) {
	for at, want := range map[string]bool{
		"postgres://db.example.com/x":                     true,
		"postgres://db.example.com/x?sslmode=prefer":      true,
		"postgres://db.example.com/x?sslmode=disable":     true,
		"postgres://db.example.com/x?sslmode=require":     false,
		"postgres://db.example.com/x?sslmode=verify-full": false,
		"postgres:///x?host=db.example.com":               true,
		"postgres:///x?host=/run/postgresql":              false,
		"postgres:///x":                                   false,
		"postgres://localhost:5432/x":                     false,
		"postgres://127.0.0.1/x":                          false,
		"postgres://[::1]:5432/x":                         false,
		"postgres://192.0.2.1/x":                          true,
		"postgres://one:1,two:2/x":                        true,
		"postgres://localhost:1,[::1]:2/x":                false,
		"postgres:///x?host=/run/postgresql,two":          true,
		"postgres:///x?host=::1":                          false,
	} {
		if got := isOpen(at, func(string) string { return "" }); got != want {
			t.Errorf("%s: %v", at, got)
		}
	}
	getenv := func(name string) string { return map[string]string{"PGHOST": "db", "PGSSLMODE": "verify-full"}[name] }
	if isOpen("postgres://db/x", getenv) || !isOpen("postgres://db/x?sslmode=prefer", getenv) || !isOpen("postgres:///x?sslmode=prefer", getenv) {
		t.Error("PGSSLMODE and PGHOST count where the URL says nothing")
	}
}

// TestCheckPostgres: what is found of a database in PostgreSQL, and nothing of the
// password in its URL.
func TestCheckPostgres(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	at := server.NewDatabase(t)
	c := configWith(t, func(c *config) { c.database = database{storeURL: secret.New(at)} })
	var holder string
	look := func() []finding {
		return findings(t, func(r *report) { holder = checkStore(t.Context(), r, c, nil) })
	}
	wantFinding(t, look(), "ok store", "its tables will be made when the service starts")
	away := configWith(t, func(c *config) {
		c.database = database{storeURL: secret.New("postgres:///x?host=" + url.QueryEscape(t.TempDir()))}
	})
	got := findings(t, func(r *report) { checkStore(t.Context(), r, away, nil) })
	wantFinding(t, got, "failed store", "cannot be reached: ")

	s := store.New(store.Options{URL: secret.New(at), Name: "one"})
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(start(s.Run))
	got = look()
	wantFinding(t, got[:1], "ok store", ", 0 messages wait there")
	wantFinding(t, got[1:2], "ok tokens", "0 can be used")
	wantFinding(t, got[2:], "ok lease", "no posthorn has had the stream yet")

	lease, taken, err := s.TakeLease(t.Context(), "one", time.Minute)
	if err != nil || !taken {
		t.Fatal(taken, err)
	}
	wantFinding(t, look()[2:], "warning lease", "one has it, and its stream is not known yet")
	if held, err := s.RenewLease(t.Context(), "one", lease.Term, time.Minute, "up"); err != nil || !held {
		t.Fatal(held, err)
	}
	wantFinding(t, look()[2:], "ok lease", "one has the stream, which is up, for another ")
	wantFinding(t, findings(t, func(r *report) { checkStream(t.Context(), r, c, nil, holder) }), "ok component post.example.com", "in use by one")

	_, stop, err := c.openAlone(t.Context())
	if stop(); err == nil || !strings.Contains(err.Error(), "is in use by the posthorn one: stop each that has it") {
		t.Errorf("what a posthorn uses is copied: %v", err)
	}

	name := strings.TrimPrefix(mustParse(t, at).Path, "/")
	if err := server.Do("", "ALTER DATABASE "+name+" SET synchronous_commit = off"); err != nil {
		t.Fatal(err)
	}
	wantFinding(t, look()[:1], "warning store", "synchronous_commit")

	wrong := mustParse(t, at)
	wrong.User = url.UserPassword(wrong.User.Username(), "hunter2")
	c.storeURL = secret.New(wrong.String())
	got = look()
	wantFinding(t, got, "failed store", name)
	if strings.Contains(fmt.Sprint(got), "hunter2") || strings.Contains(fmt.Sprint(got), "password=") {
		t.Errorf("the password shows in %v", got)
	}
}

func mustParse(t *testing.T, at string) *url.URL {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
