package httpapi

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"posthorn/internal/fault"
	"posthorn/internal/token"
)

// TestRate: five messages at once, then two a second; each recipient is one, and
// what was refused is none.
func TestRate(t *testing.T) {
	for name, steps := range map[string][]struct {
		after      time.Duration
		recipients string
		status     int
		retry      string
	}{
		"one by one": {
			{0, "a", 201, ""}, {0, "a", 201, ""}, {0, "a", 201, ""}, {0, "a", 201, ""}, {0, "a", 201, ""},
			{0, "a", 429, "1"}, {500 * time.Millisecond, "a", 201, ""}, {0, "a", 429, "1"},
		},
		"several recipients": {
			{0, "a,b,c,d", 201, ""}, {0, "a,b,c,d", 429, "2"}, {0, "a", 201, ""}, {0, "a,b", 429, "1"},
			{time.Second, "a,b", 201, ""},
		},
		"more than the burst": {
			{0, "a,b,c,d,e,f,g", 201, ""}, {0, "a", 429, "2"}, {1500 * time.Millisecond, "a", 201, ""},
		},
		"what is no message": {
			{0, "a b", 422, ""}, {0, "a,b,c,d,e", 201, ""}, {0, "a", 429, "1"}, {0, "a b", 422, ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(func(o *Options) { o.MessagesPerSecond, o.Burst = 2, 5 })
				refused := 0
				for i, s := range steps {
					time.Sleep(s.after)
					got := h.do(t, call{path: "/msg/" + strings.ReplaceAll(s.recipients, " ", "%20"), body: "x"})
					if got.status != s.status || got.header.Get("Retry-After") != s.retry {
						t.Fatalf("step %d: %d, Retry-After %q, want %+v", i, got.status, got.header.Get("Retry-After"), s)
					}
					if s.status == 429 {
						refused++
						if got.member(t, "code") != "rate-limited" {
							t.Fatalf("step %d: %s", i, got.body)
						}
					}
				}
				if n := strings.Count(h.log.String(), `level=WARN msg="too many messages" jid=me@example.com`); n != 1 {
					t.Errorf("%d lines about it, want 1:\n%s", n, h.log)
				}
				if n := testutil.ToFloat64(h.metrics.limited); n != float64(refused) {
					t.Errorf("%v counted, want %d", n, refused)
				}
			})
		})
	}
}

func TestNoRate(t *testing.T) {
	h := newHouse(nil)
	for i := range 1000 {
		if got := h.do(t, call{body: fmt.Sprint(i)}); got.status != 201 {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
}

// TestRetryAfter is what the fault says, in whole seconds, none too few.
func TestRetryAfter(t *testing.T) {
	for wait, want := range map[time.Duration]string{0: "30", 1: "1", time.Second: "1", time.Second + 1: "2", 29900 * time.Millisecond: "30"} {
		h := newHouse(nil)
		h.verifier.err = fault.New(fault.Throttled, "slowly").After(wait)
		got := h.do(t, call{body: "x"})
		if got.status != 429 || got.header.Get("Retry-After") != want || got.header.Get("WWW-Authenticate") != "" {
			t.Errorf("%v: %d with Retry-After %q", wait, got.status, got.header.Get("Retry-After"))
		}
		if strings.Contains(h.log.String(), "level=INFO") || strings.Contains(h.log.String(), "level=WARN") {
			t.Errorf("each is logged:\n%s", h.log)
		}
	}
}

// TestTokenRate: a token may be for less than its owner, and for less than one
// message a second.
func TestTokenRate(t *testing.T) {
	for _, test := range []struct {
		rate             float64
		atOnce, inMinute int
	}{
		{1, 10, 60},
		{0.05, 1, 3},
		{10, 100, 600},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(nil)
			text := h.made(t, me, token.Request{Rate: test.rate})
			send := func() (sent int) {
				for {
					got := h.do(t, call{body: "x", header: map[string]string{"Authorization": "Bearer " + text}})
					if got.status == 429 {
						return sent
					}
					sent++
				}
			}
			if sent := send(); sent != test.atOnce {
				t.Errorf("%g a second: %d at once, want %d", test.rate, sent, test.atOnce)
			}
			sent := 0
			for range 60 {
				time.Sleep(time.Second)
				sent += send()
			}
			if sent != test.inMinute {
				t.Errorf("%g a second: %d in a minute, want %d", test.rate, sent, test.inMinute)
			}
		})
	}
}
