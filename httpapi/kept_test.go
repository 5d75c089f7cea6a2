package httpapi

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// TestKept: what is kept is answered 202, with where to ask what becomes of it.
func TestKept(t *testing.T) {
	gone := fault.New(fault.Undeliverable, "gone")
	const user, you = "user@example.com", "you@example.com"
	for _, test := range []struct {
		name     string
		outcomes map[message.JID]any
		path     string
		status   int
		word     any
	}{
		{"one", map[message.JID]any{user: message.Kept}, "/msg/user?id=a%2Fb", http.StatusAccepted, "queued"},
		{"both", map[message.JID]any{user: message.Kept, you: message.Kept}, "/msg/user,you?id=a%2Fb", http.StatusAccepted, "queued"},
		{"one of two", map[message.JID]any{you: message.Kept}, "/msg/user,you?id=a%2Fb", http.StatusAccepted, "queued"},
		{"beside one that was routed", map[message.JID]any{user: message.Kept, you: message.Routed}, "/msg/user,you?id=a%2Fb", http.StatusAccepted, "queued"},
		{"beside one that was refused", map[message.JID]any{user: message.Kept, you: gone}, "/msg/user,you?id=a%2Fb", http.StatusMultiStatus, nil},
		{"none", nil, "/msg/user,you?id=a%2Fb", http.StatusCreated, "delivered"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(nil)
			h.deliverer.outcomes = test.outcomes
			got := h.do(t, call{path: test.path, body: "x"})
			location := ""
			if test.status == http.StatusAccepted {
				location = "/messages/a%2Fb"
			}
			if got.status != test.status || got.member(t, "status") != test.word || got.member(t, "id") != "a/b" || got.header.Get("Location") != location {
				t.Errorf("%d %s, Location %q", got.status, got.body, got.header.Get("Location"))
			}
		})
	}
}

// TestRequestRefused: an error of the whole request is its answer.
func TestRequestRefused(t *testing.T) {
	h := newHouse(nil)
	h.deliverer.err = fault.New(fault.Unsendable, "another message")
	if got := h.do(t, call{body: "x"}); got.status != 422 || got.member(t, "detail") != "another message" {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// TestScopes: what makes two requests the same one, and what they ask for the same.
func TestScopes(t *testing.T) {
	h := newHouse(nil)
	request := func(path, body string, header ...string) message.Request {
		t.Helper()
		c := call{path: path, body: body, header: map[string]string{}}
		for i := 0; i < len(header); i += 2 {
			c.header[header[i]] = header[i+1]
		}
		if got := h.do(t, c); got.status != 201 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		return h.deliverer.requests[len(h.deliverer.requests)-1]
	}
	first := request("/msg/user", "x", "Idempotency-Key", "k")
	if plain := request("/msg/user", "x"); plain.Scope != "" || first.Scope == "" || first.Digest == "" {
		t.Errorf("the scopes are %q and %q", plain.Scope, first.Scope)
	}
	for _, test := range []struct {
		name             string
		other            message.Request
		sameKey, sameAsk bool
	}{
		{"again", request("/msg/user", "x", "Idempotency-Key", "k"), true, true},
		{"in another form", request("/msg?to=user@example.com", "x", "Idempotency-Key", "k"), true, true},
		{"other key", request("/msg/user", "x", "Idempotency-Key", "K"), false, true},
		{"other recipient", request("/msg/you", "x", "Idempotency-Key", "k"), false, true},
		{"one more recipient", request("/msg/user,you", "x", "Idempotency-Key", "k"), false, true},
		{"other route", request("/rest/message/chat/user", "x", "Idempotency-Key", "k"), false, true},
		{"other text", request("/msg/user", "y", "Idempotency-Key", "k"), true, false},
		{"a subject", request("/msg/user?subject=s", "x", "Idempotency-Key", "k"), true, false},
		{"other type", request("/msg/user?type=normal", "x", "Idempotency-Key", "k"), true, false},
		{"an id", request("/msg/user?id=mine", "x", "Idempotency-Key", "k"), true, false},
		{"an update", request("/msg/user?update=disk", "x", "Idempotency-Key", "k"), true, true},
		{"GitHub", request("/msg/user", "x", "X-GitHub-Delivery", "k"), true, true},
		{"Gitea", request("/msg/user", "x", "X-Gitea-Delivery", "k", "X-GitHub-Delivery", "k"), true, true},
		{"Forgejo", request("/msg/user", "x", "X-Forgejo-Delivery", "k"), true, true},
		{"the key before the delivery", request("/msg/user", "x", "Idempotency-Key", "k", "X-GitHub-Delivery", "d"), true, true},
	} {
		if (test.other.Scope == first.Scope) != test.sameKey || (test.other.Digest == first.Digest) != test.sameAsk {
			t.Errorf("%s: the scope is the same: %v, what it asks for: %v", test.name, test.other.Scope == first.Scope, test.other.Digest == first.Digest)
		}
	}
}

// TestLookup: a sender is told what has become of a message.
func TestLookup(t *testing.T) {
	at := time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.UTC)
	record := func(id string, to message.JID, s message.State, change func(*message.Record)) message.Record {
		r := message.Record{Seq: at.UnixNano(), Accepted: at, From: me, To: to, ID: id, State: s, Expires: at.Add(time.Hour), Wake: at.Add(time.Minute), Attempts: 2}
		if change != nil {
			change(&r)
		}
		return r
	}
	h := newHouse(nil)
	h.deliverer.records = []message.Record{
		record("queued", "user@example.com", message.Queued, nil),
		record("waiting", "user@example.com", message.Waiting, func(r *message.Record) { r.Code, r.Detail = "remote-failed", "not\nnow" }),
		record("unconfirmed", "user@example.com", message.Unconfirmed, nil),
		record("delivered", "user@example.com", message.State(message.Delivered), nil),
		record("two", "user@example.com", message.State(message.Routed), nil),
		record("two", "you@example.com", message.Bounced, func(r *message.Record) { r.Code, r.Detail = "undeliverable", "gone" }),
		record("others", "user@example.com", message.Queued, func(r *message.Record) { r.From = "you@example.com" }),
	}
	for _, test := range []struct {
		id, want string
		status   int
	}{
		{"queued", `{"id":"queued","to":"user@example.com","status":"queued","attempts":2,"accepted":"2026-11-24T12:00:00.123Z","expires":"2026-11-24T13:00:00.123Z"}`, 200},
		{"waiting", `{"id":"waiting","to":"user@example.com","status":"queued","attempts":2,"accepted":"2026-11-24T12:00:00.123Z","expires":"2026-11-24T13:00:00.123Z","next_try":"2026-11-24T12:01:00.123Z","code":"remote-failed","error":"not now"}`, 200},
		{"unconfirmed", `{"id":"unconfirmed","to":"user@example.com","status":"queued","attempts":2,"accepted":"2026-11-24T12:00:00.123Z","expires":"2026-11-24T13:00:00.123Z"}`, 200},
		{"delivered", `{"id":"delivered","to":"user@example.com","status":"delivered","attempts":2,"accepted":"2026-11-24T12:00:00.123Z"}`, 200},
		{"two", `{"id":"two","results":[{"to":"user@example.com","status":"routed","attempts":2,"accepted":"2026-11-24T12:00:00.123Z"},{"to":"you@example.com","status":"bounced","attempts":2,"accepted":"2026-11-24T12:00:00.123Z","code":"undeliverable","error":"gone"}]}`, 200},
		{"others", "", 404},
		{"unknown", "", 404},
		{"", "", 404},
	} {
		got := h.do(t, call{method: "GET", path: "/messages/" + test.id})
		if got.status != test.status || test.want != "" && got.body != test.want+"\n" {
			t.Errorf("%s: %d\n%s", test.id, got.status, cmp.Diff(test.want, got.body))
		}
	}
	if got := h.do(t, call{method: "GET", path: "/messages/queued", header: map[string]string{"Authorization": "-"}}); got.status != 401 {
		t.Errorf("without credentials: %d %s", got.status, got.body)
	}
	if got := h.do(t, call{method: "POST", path: "/messages/queued"}); got.status != 405 || got.header.Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("POST: %d %s", got.status, got.body)
	}
	h.deliverer.err = fault.New(fault.Unavailable, "not now")
	if got := h.do(t, call{method: "GET", path: "/messages/queued"}); got.status != 503 {
		t.Errorf("a store that fails: %d %s", got.status, got.body)
	}
}
