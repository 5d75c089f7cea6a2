package main

import (
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// TestRestartStorm: however often the server goes away under load, each answer
// is true: what was answered 201 is received, once, and what was refused, for
// whatever reason, is not. `make soak` has the long form.
func TestRestartStorm(t *testing.T) {
	onBoth(t, func(t *testing.T, p *xmpptest.Server) { restartStorm(t, p, expected[p.Name].restarts, 0) })
}

// restartStorm ends the server that often, every time after a pause at least.
// Clients pause too, or the server would have more to keep than it is good at.
func restartStorm(t *testing.T, p *xmpptest.Server, restarts int, pause time.Duration) {
	h := startPosthorn(t, p, "log: {level: debug}", "log: {level: info}").ready(t)
	tr := startTraffic(t, h, 64, pause/40, justMe, h.expected.sorts...)
	for n := range restarts {
		earliest := time.After(pause)
		tr.flows(t, 100)
		<-earliest
		end := p.Stop
		if n%2 == 1 && h.expected.safe {
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
	tr.finish()
	tr.compare(t, p.MustLogin(t, "user@example.com", password))
}
