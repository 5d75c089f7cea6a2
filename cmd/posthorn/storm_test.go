package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// TestRestartStorm: however often the server goes away under load, each answer
// is true: what was answered 201 is received, once, and what was refused is
// not. `make soak` has the long form.
func TestRestartStorm(t *testing.T) { restartStorm(t, 4) }

func restartStorm(t *testing.T, restarts int) {
	const clients = 64
	p := prosodyWithUsers(t, xmpptest.Options{Modules: []string{"offline"}})
	h := startPosthorn(t, p, "log: {level: debug}", "log: {level: info}").ready(t)
	ctx, cancel := context.WithCancel(t.Context())
	answers := make(map[string]int) // by text: the status
	var mu sync.Mutex
	var wait sync.WaitGroup
	for c := range clients {
		wait.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				text := fmt.Sprintf("%d/%d", c, n)
				a, err := h.post("/msg/user", text, nil)
				if err != nil {
					t.Errorf("%s: %v", text, err)
					return
				}
				mu.Lock()
				answers[text] = a.status
				mu.Unlock()
				if a.status != http.StatusCreated {
					_ = xmpptest.Poll(ctx, func() bool { return h.status("/readyz") == http.StatusOK })
				}
			}
		})
	}
	for n := range restarts {
		before := delivered(&mu, answers)
		xmpptest.Wait(t, 30*time.Second, "messages flow", func() bool { return delivered(&mu, answers) >= before+100 })
		end := p.Stop
		if n%2 == 1 {
			end = p.Kill
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
	}
	h.ready(t)
	cancel()
	wait.Wait()
	compare(t, p, h, answers)
}

func delivered(mu *sync.Mutex, answers map[string]int) (n int) {
	mu.Lock()
	defer mu.Unlock()
	for _, status := range answers {
		if status == http.StatusCreated {
			n++
		}
	}
	return n
}

// compare receives everything that the server has kept and holds it against
// the answers.
func compare(t *testing.T, p *xmpptest.Prosody, h *posthorn, answers map[string]int) {
	t.Helper()
	const last = "the last"
	if a := h.mustPost(t, "/msg/user", last, nil); a.status != http.StatusCreated {
		t.Fatalf("answer is %d %s", a.status, a.raw)
	}
	user := p.MustLogin(t, "user@example.com", password)
	received := make(map[string]int)
	for m := user.MustReceive(t); m.Body != last; m = user.MustReceive(t) {
		received[m.Body]++
	}
	count := make(map[int]int)
	for text, status := range answers {
		count[status]++
		switch got := received[text]; {
		case status == http.StatusCreated && got != 1:
			t.Errorf("%s was answered 201 and received %d times", text, got)
		case status == http.StatusServiceUnavailable && got != 0:
			t.Errorf("%s was answered 503 and received", text)
		case status != http.StatusCreated && status != http.StatusServiceUnavailable && status != http.StatusGatewayTimeout:
			t.Errorf("%s was answered %d", text, status)
		}
	}
	t.Logf("answers by status: %v; received: %d", count, len(received))
}
