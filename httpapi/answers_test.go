package httpapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// TestEveryKindHasARow keeps the table complete and its codes apart.
func TestEveryKindHasARow(t *testing.T) {
	if len(rows) != len(fault.Kinds()) {
		t.Fatalf("%d rows for %d kinds", len(rows), len(fault.Kinds()))
	}
	codes := map[string]fault.Kind{}
	for _, kind := range fault.Kinds() {
		row := rowOf(kind)
		if row.status < 400 || row.status > 599 || kind.String() == "" || row.title == "" {
			t.Errorf("kind %d has the row %+v", kind, row)
		}
		if other, taken := codes[kind.String()]; taken {
			t.Errorf("kinds %d and %d share the code %q", kind, other, kind)
		}
		codes[kind.String()] = kind
		if needed := row.status == 429 || row.status == 502 || row.status == 503 || row.status == 504; needed != (row.retry > 0) {
			t.Errorf("kind %d, status %d, has Retry-After %d", kind, row.status, row.retry)
		}
	}
	if rowOf(-1) != rows[fault.Internal] || rowOf(fault.Kind(len(rows))) != rows[fault.Internal] {
		t.Error("a kind without a row is not internal")
	}
}

// TestEveryKindAnswers: each kind that a deliverer may give has its status.
func TestEveryKindAnswers(t *testing.T) {
	for _, kind := range fault.Kinds() {
		t.Run(kind.String(), func(t *testing.T) {
			h := newHouse(nil)
			cause := errors.New("the cause")
			h.deliverer.outcomes = map[message.JID]any{"user@example.com": fmt.Errorf("outer: %w", fault.Wrap(cause, kind, "why\nit is"))}
			got := h.do(t, call{body: "x"})
			want := rowOf(kind)
			if got.status != want.status || got.member(t, "code") != kind.String() || got.member(t, "title") != want.title {
				t.Fatalf("%d %s", got.status, got.body)
			}
			detail := got.member(t, "detail").(string)
			if (kind == fault.Internal) != !strings.Contains(detail, "why it is") || strings.Contains(got.body, "cause\"") || strings.Contains(got.body, "the cause\"") {
				t.Fatalf("the detail is %q", detail)
			}
			if (got.status == 429 || got.status >= 502) != (got.header.Get("Retry-After") != "") {
				t.Fatalf("%d with Retry-After %q", got.status, got.header.Get("Retry-After"))
			}
			warned := strings.Contains(h.log.String(), "level=WARN")
			if warned != (got.status >= 500) || !strings.Contains(h.log.String(), "the cause") {
				t.Fatalf("the log has %s", h.log.String())
			}
		})
	}
}

// TestMistakesShowTheirIDAlone: the log has the cause, under the id that the
// client is told.
func TestMistakesShowTheirIDAlone(t *testing.T) {
	h := newHouse(nil)
	h.deliverer.outcomes = map[message.JID]any{"user@example.com": errors.New("nil map at 0xc000")}
	got := h.do(t, call{body: "x"})
	words := strings.Fields(got.member(t, "detail").(string))
	id := words[len(words)-1]
	if got.status != 500 || len(id) < 26 || strings.Contains(got.body, "nil map") {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if log := h.log.String(); !strings.Contains(log, "id="+id) || !strings.Contains(log, "nil map at 0xc000") {
		t.Fatalf("the log has %s", log)
	}
}

// TestGivenUp: a context that ended is no mistake of ours.
func TestGivenUp(t *testing.T) {
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
		h := newHouse(nil)
		h.deliverer.outcomes = map[message.JID]any{"user@example.com": fmt.Errorf("wait: %w", cause)}
		if got := h.do(t, call{body: "x"}); got.status != 504 {
			t.Fatalf("%v: %d %s", cause, got.status, got.body)
		}
		h = newHouse(nil)
		h.deliverer.err = fmt.Errorf("wait for another: %w", cause)
		if got := h.do(t, call{body: "x"}); got.status != 504 {
			t.Fatalf("%v of all: %d %s", cause, got.status, got.body)
		}
		h = newHouse(nil)
		h.verifier.err = fmt.Errorf("probe: %w", cause)
		if got := h.do(t, call{body: "x"}); got.status != 504 {
			t.Fatalf("%v: %d %s", cause, got.status, got.body)
		}
	}
}

func TestSeveralRecipients(t *testing.T) {
	gone := fault.New(fault.Undeliverable, "gone")
	large := fault.New(fault.TooLarge, "large")
	busy := fault.New(fault.Unavailable, "busy")
	remote := fault.New(fault.RemoteFailed, "remote")
	type outcomes = map[message.JID]any
	one := func(to message.JID, status string) map[string]any {
		return map[string]any{"to": string(to), "status": status}
	}
	bad := func(to message.JID, status, code, detail string) map[string]any {
		return map[string]any{"to": string(to), "status": status, "code": code, "detail": detail}
	}
	const a, b, c = "a@example.com", "b@example.com", "c@example.com"
	for _, test := range []struct {
		name     string
		outcomes outcomes
		status   int
		all      any // the member status
		results  []any
		retry    bool
	}{
		{"all delivered", nil, 201, "delivered", []any{one(a, "delivered"), one(b, "delivered"), one(c, "delivered")}, false},
		{"one routed", outcomes{b: message.Routed}, 201, "routed", []any{one(a, "delivered"), one(b, "routed"), one(c, "delivered")}, false},
		{"one refused", outcomes{b: gone}, 207, nil, []any{one(a, "delivered"), bad(b, "refused", "undeliverable", "gone"), one(c, "delivered")}, false},
		{"all refused", outcomes{a: gone, b: large, c: large}, 404, 404.0, []any{bad(a, "refused", "undeliverable", "gone"), bad(b, "refused", "too-large", "large"), bad(c, "refused", "too-large", "large")}, false},
		{"one failed", outcomes{b: busy}, 503, 503.0, []any{one(a, "delivered"), bad(b, "failed", "unavailable", "busy"), one(c, "delivered")}, true},
		{"refused and failed", outcomes{a: gone, b: remote, c: busy}, 502, 502.0, []any{bad(a, "refused", "undeliverable", "gone"), bad(b, "failed", "remote-failed", "remote"), bad(c, "failed", "unavailable", "busy")}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(nil)
			h.deliverer.outcomes = test.outcomes
			got := h.do(t, call{path: "/msg/a,b,c", body: "x"})
			if got.status != test.status || got.member(t, "status") != test.all {
				t.Fatalf("%d %s", got.status, got.body)
			}
			if diff := cmp.Diff(test.results, got.member(t, "results")); diff != "" {
				t.Fatal(diff)
			}
			messages := h.deliverer.take()
			if len(messages) != 3 || messages[0].ID != messages[2].ID {
				t.Fatalf("sent %v", messages)
			}
			if id := got.member(t, "id"); got.status < 300 && id != messages[0].ID {
				t.Fatalf("the id is %v", id)
			}
			if all := got.member(t, "to"); (got.status == 201) != cmp.Equal(all, []any{a, b, c}) {
				t.Fatalf("to is %v", all)
			}
			if test.retry != (got.header.Get("Retry-After") != "") {
				t.Fatalf("Retry-After is %q", got.header.Get("Retry-After"))
			}
		})
	}
}

// TestIDs: the client's own, one from its key, or one by chance.
func TestIDs(t *testing.T) {
	h := newHouse(nil)
	id := func(path, key string) string {
		c := call{path: path, body: "x"}
		if key != "" {
			c.header = map[string]string{"Idempotency-Key": key}
		}
		got := h.do(t, c)
		if got.status != 201 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		return got.member(t, "id").(string)
	}
	if id("/msg/user?id=mine", "key") != "mine" {
		t.Error("the client's id does not win")
	}
	if one, other := id("/msg/user", ""), id("/msg/user", ""); one == other {
		t.Error("two ids by chance are the same")
	}
	keyed := id("/msg/user", "key")
	if len(keyed) != 32 || keyed != id("/msg/user@example.com", "key") {
		t.Error("one key gives two ids")
	}
	for _, other := range []string{id("/msg/user", "Key"), id("/msg/you", "key"), id("/msg/user,you", "key"), id("/rest/message/chat/user", "key")} {
		if other == keyed {
			t.Error("two requests have one id")
		}
	}
	if scopeOf("k", "a@b", []message.JID{"c@d"}, messagePage) == scopeOf("k", "e@b", []message.JID{"c@d"}, messagePage) {
		t.Error("two senders have one id")
	}
}
