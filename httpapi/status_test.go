package httpapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/token"
)

// A seen is what a client reads of /status.
type seen struct {
	JID, Stream, Store, Version string
	Kept                        struct{ All, Yours int }
	Minutes                     struct{ Sent, Failed []int }
	Outcomes                    []seenOutcome
}

type seenOutcome struct {
	To, ID, Status, Code, Detail string
	Time                         time.Time
}

func (h *house) status(t *testing.T, header map[string]string) (s seen, raw string) {
	t.Helper()
	got := h.do(t, call{method: "GET", path: "/status", header: header})
	if err := json.Unmarshal([]byte(got.body), &s); err != nil || got.status != 200 {
		t.Fatalf("%d %s: %v", got.status, got.body, err)
	}
	return s, got.body
}

// TestStatus: how posthorn is, and what became of one's own messages, also of those that
// were kept since.
func TestStatus(t *testing.T) {
	h := newHouse(nil)
	h.deliverer.outcomes = map[message.JID]any{"ghost@example.com": fault.New(fault.Undeliverable, "gone"), "away@example.com": message.Kept}
	began := time.Now().Add(-time.Second)
	for _, path := range []string{"/msg/user?id=1", "/msg/ghost,user?id=2", "/msg/away?id=3"} {
		h.do(t, call{path: path, body: "x"})
	}
	h.do(t, call{path: "/msg/a@b@c", body: "never a message"})
	h.deliverer.err = fault.New(fault.Conflict, "under way")
	h.do(t, call{path: "/msg/user?id=4", body: "x"})
	h.deliverer.err = nil
	h.deliverer.records = []message.Record{
		{From: me, To: "away@example.com", ID: "3", State: message.Expired, Code: "unavailable", Detail: "too\nlate", Accepted: time.Now()},
		{From: "you@example.com", To: "secret@example.com", ID: "5", State: message.Queued, Accepted: time.Now()},
		{From: me, To: "old@example.com", ID: "0", State: message.Queued, Accepted: time.Now().Add(-time.Hour)},
	}
	got, raw := h.status(t, nil)
	want := seen{JID: me, Stream: "up", Store: "ok", Version: "1.2.3", Outcomes: []seenOutcome{
		{To: "user@example.com", ID: "4", Status: "refused", Code: "conflict", Detail: "under way"},
		{To: "away@example.com", ID: "3", Status: "expired", Code: "unavailable", Detail: "too late"},
		{To: "ghost@example.com", ID: "2", Status: "refused", Code: "undeliverable", Detail: "gone"},
		{To: "user@example.com", ID: "2", Status: "delivered"},
		{To: "user@example.com", ID: "1", Status: "delivered"},
		{To: "old@example.com", ID: "0", Status: "queued"},
	}}
	want.Kept.All, want.Kept.Yours = 3, 2
	byID := cmpopts.SortSlices(func(a, b seenOutcome) bool { return a.ID+a.To > b.ID+b.To }) // several are of one moment
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(seen{}, "Minutes"), cmpopts.IgnoreFields(seenOutcome{}, "Time"), byID); diff != "" {
		t.Error(diff)
	}
	for i, o := range got.Outcomes {
		if o.Time.After(time.Now().Add(time.Second)) || o.ID != "0" && o.Time.Before(began) || i > 0 && o.Time.After(got.Outcomes[i-1].Time) {
			t.Errorf("%s is of %v", o.ID, o.Time)
		}
	}
	if sum(got.Minutes.Sent) != 3 || sum(got.Minutes.Failed) != 2 || len(got.Minutes.Sent) != 60 {
		t.Errorf("the minutes are %+v", got.Minutes)
	}
	if strings.Contains(raw, "secret") || strings.Contains(raw, "you@") {
		t.Errorf("it tells of others: %s", raw)
	}
}

func sum(list []int) (n int) {
	for _, one := range list {
		n += one
	}
	return n
}

// TestCounted: where several posthorns share the store, each is told what the others were
// given, and its own state counts all of it.
func TestCounted(t *testing.T) {
	var sent, failed int
	h := newHouse(func(o *Options) { o.Counted = func(s, f int) { sent, failed = sent+s, failed+f } })
	h.deliverer.outcomes = map[message.JID]any{"ghost@example.com": fault.New(fault.Undeliverable, "gone")}
	h.do(t, call{path: "/msg/ghost,user,boss", body: "x"})
	h.do(t, call{path: "/msg/user", body: "x"})
	if sent != 3 || failed != 1 {
		t.Errorf("others are told of %d and %d", sent, failed)
	}
	h.CountElsewhere(10, 20)
	if got, _ := h.status(t, nil); sum(got.Minutes.Sent) != 13 || sum(got.Minutes.Failed) != 21 || len(got.Outcomes) != 4 || sent != 3 {
		t.Errorf("the state is %+v", got)
	}
}

// TestStatusIsOnesOwn: others, and a token for other recipients, are told numbers alone.
func TestStatusIsOnesOwn(t *testing.T) {
	h := newHouse(nil)
	h.do(t, call{path: "/msg/user,boss?id=my-id", body: "x"})
	yours := "Bearer " + h.made(t, "you@example.com", token.Request{})
	got, raw := h.status(t, map[string]string{"Authorization": yours})
	if got.JID != "you@example.com" || len(got.Outcomes) != 0 || sum(got.Minutes.Sent) != 2 || !strings.Contains(raw, `"outcomes":[]`) || strings.Contains(raw, "my-id") || strings.Contains(raw, me) {
		t.Errorf("another is told %s", raw)
	}
	limited := "Bearer " + h.made(t, me, token.Request{Recipients: []string{"user@example.com"}})
	got, raw = h.status(t, map[string]string{"Authorization": limited})
	if len(got.Outcomes) != 1 || got.Outcomes[0].To != "user@example.com" || strings.Contains(raw, "boss") {
		t.Errorf("the token is told %s", raw)
	}
}

// TestStatusRefused: who is not signed in is told nothing, and nothing is sent.
func TestStatusRefused(t *testing.T) {
	for name, test := range map[string]struct {
		call   call
		change func(*Options)
		want   int
	}{
		"nobody":         {call{method: "GET", header: map[string]string{"Authorization": "-"}}, nil, 401},
		"wrong password": {call{method: "GET", header: map[string]string{"Authorization": basic(me, "x")}}, nil, 401},
		"may not send":   {call{method: "GET"}, func(o *Options) { o.Senders = []string{"you@example.com"} }, 403},
		"POST":           {call{}, nil, 405},
		"HEAD":           {call{method: "HEAD"}, nil, 200},
		"at the root":    {call{body: "x"}, func(o *Options) { o.Path = "/" }, 201},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(test.change)
			test.call.path = "/status"
			if got := h.do(t, test.call); got.status != test.want {
				t.Errorf("%d %s", got.status, got.body)
			}
			if sent := h.deliverer.take(); (len(sent) > 0) != (test.want == 201) {
				t.Errorf("sent %v", sent)
			}
		})
	}
}

// TestLastOutcomes: the newest twenty, of what is remembered and what is kept.
func TestLastOutcomes(t *testing.T) {
	h := newHouse(nil)
	h.deliverer.records = []message.Record{
		{From: me, To: "user@example.com", ID: "later", State: message.Queued, Accepted: time.Now().Add(time.Minute)},
		{From: me, To: "user@example.com", ID: "earlier", State: message.State(message.Delivered), Accepted: time.Now().Add(-time.Minute)},
	}
	for i := range 30 {
		h.do(t, call{path: fmt.Sprintf("/msg/user?id=%d", i), body: "x"})
	}
	got, _ := h.status(t, nil)
	if len(got.Outcomes) != 20 || got.Outcomes[0].ID != "later" || got.Outcomes[1].ID != "29" || got.Outcomes[19].ID != "11" {
		t.Errorf("there are %d: %v", len(got.Outcomes), got.Outcomes)
	}
}
