//go:build soak

package main

import (
	"math/rand/v2"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

func TestTenThousandIdleConnections(t *testing.T) { idleConnections(t, 10000) }

func TestLongRestartStorm(t *testing.T) {
	onBoth(t, func(t *testing.T, p *xmpptest.Server) { restartStorm(t, p, 20, 3*time.Second) })
}

func TestLongWireFaults(t *testing.T) {
	onBoth(t, func(t *testing.T, p *xmpptest.Server) { wireFaultsUnderLoad(t, p, 64, 50*time.Millisecond, 10) })
}

// TestDeadPeer: under load, and when nobody says anything. ejabberd goes on
// giving a dead connection its share of what is for the component (23.01,
// 2026-11).
func TestDeadPeer(t *testing.T) {
	for name, clients := range map[string]int{"busy": 16, "idle": 0} {
		t.Run(name, func(t *testing.T) {
			deadPeer(t, prosodyWithUsers(t, keepsAll), clients)
		})
	}
}

func TestManyStrangers(t *testing.T) {
	for range 3 {
		onBoth(t, func(t *testing.T, p *xmpptest.Server) { strangers(t, p, rand.Uint64(), 2000) })
	}
}

// deadPeer: a connection on which nothing moves any more is given up within 30 s,
// and the server gives the component to the next one, although it holds the
// dead one too.
func deadPeer(t *testing.T, p *xmpptest.Server, clients int) {
	wire := xmpptest.StartProxy(t, p.ComponentAddress)
	h := startPosthorn(t, p, p.ComponentAddress, wire.Address).ready(t)
	tr := startTraffic(t, h, clients, 10*time.Millisecond, justMe)
	if clients > 0 {
		tr.flows(t, 100)
	}
	wire.Abandon()
	xmpptest.Wait(t, 30*time.Second, "it connects again", func() bool { return wire.Accepted() > 1 })
	if h.ready(t); clients > 0 {
		tr.flows(t, 100)
	}
	tr.finish()
	tr.compare(t, p.MustLogin(t, "user@example.com", password))
}

func TestFiftyKills(t *testing.T) { kills(t, 50) }

// TestKeptForAMinute: ejabberd takes longer for each message that it stores for an
// absent user, the more of them it has (23.01, 2026-11).
func TestKeptForAMinute(t *testing.T) {
	onBoth(t, func(t *testing.T, p *xmpptest.Server) {
		accepted, pause := 10000, 40*time.Millisecond
		if !expected[p.Name].safe {
			accepted, pause = 2000, 200*time.Millisecond
		}
		serverAway(t, p, accepted, pause, time.Minute)
	})
}

func TestThousandRooms(t *testing.T) { manyRooms(t, 1000) }

func TestTenThousandGuesses(t *testing.T) {
	onBoth(t, func(t *testing.T, p *xmpptest.Server) { guessing(t, p, 10000) })
}

// TestRefusalsTakeAsLong: nobody learns by a clock whether there is an account. It is
// about medians, so that a busy machine does not fail it.
func TestRefusalsTakeAsLong(t *testing.T) {
	onBoth(t, func(t *testing.T, p *xmpptest.Server) { refusedAlike(t, p, 300) })
}
