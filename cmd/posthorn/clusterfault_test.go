package main

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// Clients of a cluster that is disturbed: some of them are told 503 by an instance that
// cannot keep anything now, or 504 by one that does not know. Who has a key then asks again.
var (
	clusterSorts = []sending{
		{"/msg/user", "text/plain", asItIs, 1, []int{http.StatusCreated, http.StatusAccepted, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, false},
		{"/msg/user", "text/plain", asItIs, 3, []int{http.StatusCreated, http.StatusAccepted}, true},
	}
	// One that is upgraded refuses nobody.
	upgradeSorts = []sending{
		{"/msg/user", "text/plain", asItIs, 1, []int{http.StatusCreated, http.StatusAccepted}, false},
		{"/msg/user", "text/plain", asItIs, 3, []int{http.StatusCreated, http.StatusAccepted}, true},
	}
	twoSenders = []string{"me@example.com", "you@example.com"}
)

func asItIs(text string) string { return text }

// TestClusterUpgrade: each instance in turn is stopped and started again under load, and
// no request fails. `make soak` has the long form.
func TestClusterUpgrade(t *testing.T) { clusterUpgrade(t, 2) }

func clusterUpgrade(t *testing.T, rounds int) {
	c := startCluster(t)
	m := openMailbox(t, c.server.MustLogin(t, "user@example.com", password))
	tr := &traffic{h: c.front, pause: 10 * time.Millisecond, label: "upgrade "}
	tr.start(t, 16, twoSenders, upgradeSorts...)
	var took []time.Duration
	for range rounds {
		for _, i := range c.instances {
			tr.flows(t, 100)
			tr.mark()
			if err := i.Stop(); err != nil {
				t.Fatal(err)
			}
			tr.through(t, 50)
			i.start(t)
			c.ready(t)
			took = append(took, tr.gap())
		}
	}
	tr.flows(t, 100)
	tr.finish()
	c.settle(t, m, tr)
	t.Logf("\n%s\n%s", countHead, m.count(t, tr, nil).row("an instance stopped and started again", took))
}

// A mishap is what happens to a cluster. begin does it to the instance that has the stream
// or to the other, and gives what ends it.
type mishap struct {
	name    string
	begin   func(t *testing.T, c *cluster, holder, other *instance) (end func() error)
	resends bool          // what was in flight may be received twice
	often   int           // in the long form
	lasts   time.Duration // there, at least
}

// mishaps are all of them.
func mishaps() []mishap {
	all := []mishap{
		{"kill -9 of the holder", killHolder, true, 10, 0},
		{"the holder stands still (SIGSTOP)", pauseHolder, true, 5, 30 * time.Second},
		{"PostgreSQL restarted", restartDatabase(false), true, 5, 0},
		{"PostgreSQL restarted, immediate", restartDatabase(true), true, 5, 0},
	}
	for _, who := range []string{"the holder", "the other"} {
		for _, from := range []string{"PostgreSQL", "the XMPP server"} {
			all = append(all,
				mishap{who + " is cut from " + from, cut(who, from, closed), who == "the holder", 5, 15 * time.Second},
				mishap{who + " is cut from " + from + ", silently", cut(who, from, silent), who == "the holder", 5, 15 * time.Second})
		}
	}
	return all
}

func killHolder(t *testing.T, _ *cluster, holder, _ *instance) (end func() error) {
	if err := holder.Kill(); err != nil {
		t.Fatal(err)
	}
	return func() error { holder.start(t); return nil }
}

func pauseHolder(t *testing.T, _ *cluster, holder, _ *instance) (end func() error) {
	if err := holder.Pause(); err != nil {
		t.Fatal(err)
	}
	return holder.Resume
}

func restartDatabase(immediate bool) func(*testing.T, *cluster, *instance, *instance) func() error {
	return func(t *testing.T, c *cluster, _, _ *instance) (end func() error) {
		if err := c.postgres.Restart(immediate); err != nil {
			t.Fatal(err)
		}
		return func() error { return nil }
	}
}

// cut cuts one of them from what is behind a proxy.
func cut(who, from string, how func(*xmpptest.Proxy, bool)) func(*testing.T, *cluster, *instance, *instance) func() error {
	return func(_ *testing.T, _ *cluster, holder, other *instance) (end func() error) {
		i := holder
		if who == "the other" {
			i = other
		}
		proxy := i.toServer
		if from == "PostgreSQL" {
			proxy = i.toDatabase
		}
		how(proxy, true)
		return func() error { how(proxy, false); return nil }
	}
}

// closed ends what is open, and each new connection.
func closed(p *xmpptest.Proxy, is bool) { p.Refuse(is) }

// silent lets nothing pass, and says nothing.
func silent(p *xmpptest.Proxy, is bool) {
	p.Set(xmpptest.Wire{Stalled: is}, xmpptest.Wire{Stalled: is})
}

// TestClusterFaults: whatever happens to one of the instances, to PostgreSQL or to the
// network between them, what was acknowledged is received, in order; twice only what was
// in flight; and the other takes over. `make soak` has the long form, whose table is in
// docs/operating.md.
func TestClusterFaults(t *testing.T) {
	clusterFaults(t, func(f mishap) (times int, lasts time.Duration) { return 1, 0 })
}

func clusterFaults(t *testing.T, form func(mishap) (times int, lasts time.Duration)) {
	c := startCluster(t)
	m := openMailbox(t, c.server.MustLogin(t, "user@example.com", password))
	t.Logf("\n%s", countHead)
	for _, f := range mishaps() {
		t.Run(f.name, func(t *testing.T) {
			times, lasts := form(f)
			c.disturb(t, m, f, times, lasts)
		})
	}
}

// hasty are the ways to the cluster, of clients who do not wait for long. Half of them go
// by HAProxy.
func (c *cluster) hasty() (ways []*posthorn) {
	for _, h := range []*posthorn{c.front, c.instances[0].posthorn, c.front, c.instances[1].posthorn} {
		ways = append(ways, &posthorn{URL: h.URL, expected: h.expected, client: &http.Client{Transport: h.asking().Transport, Timeout: 10 * time.Second}})
	}
	return ways
}

// disturb has a mishap happen under load, again and again, and counts.
func (c *cluster) disturb(t *testing.T, m *mailbox, f mishap, times int, lasts time.Duration) {
	tr := &traffic{h: c.front, ways: c.hasty(), pause: 20 * time.Millisecond, dies: true, label: f.name + " "}
	tr.start(t, 16, twoSenders, clusterSorts...)
	var took []time.Duration
	var disturbed []span
	for range times {
		tr.flows(t, 50)
		wrong, gap := c.happens(t, tr, f, lasts)
		took = append(took, gap)
		if f.resends {
			disturbed = append(disturbed, wrong)
		}
	}
	tr.flows(t, 50)
	tr.finish()
	c.settle(t, m, tr)
	t.Log("\n" + m.count(t, tr, disturbed).row(f.name, took))
}

// happens has a mishap happen once, says in which time messages were sent again, and for
// how long none got through.
func (c *cluster) happens(t *testing.T, tr *traffic, f mishap, lasts time.Duration) (wrong span, gap time.Duration) {
	holder, other := c.roles(t)
	earliest := time.After(lasts)
	wrong.from = time.Now()
	tr.mark()
	end := sync.OnceValue(f.begin(t, c, holder, other))
	defer end()       // also when the test fails: others follow
	tr.through(t, 50) // although it is not over
	wrong.to = time.Now()
	<-earliest
	if err := end(); err != nil {
		t.Fatal(err)
	}
	c.ready(t)
	return wrong, tr.gap()
}
