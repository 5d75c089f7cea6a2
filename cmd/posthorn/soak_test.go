//go:build soak

package main

import (
	cryptorand "crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
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

// guessedToken is of the form of a token.
func guessedToken() string {
	var random [32]byte
	_, _ = cryptorand.Read(random[:])
	return "ph_" + base64.RawURLEncoding.EncodeToString(random[:])
}

// refusedAlike measures how long a refusal takes, by what was wrong, n times each, and
// fails where one can be told from another by its time: an answer is given at multiples
// of a quarter of a second, so a kind that is a step later than another stands out.
func refusedAlike(t *testing.T, p *xmpptest.Server, n int) {
	h := startPosthorn(t, p, append(withStore(t), unlimited...)...).ready(t)
	kinds := map[string]func(r *http.Request, i int){
		"wrong password":   func(r *http.Request, i int) { r.SetBasicAuth("me", fmt.Sprint("wrong ", i)) },
		"the same again":   func(r *http.Request, _ int) { r.SetBasicAuth("user", "wrong") },
		"unknown account":  func(r *http.Request, i int) { r.SetBasicAuth(fmt.Sprint("ghost", i), "wrong") },
		"unknown host":     func(r *http.Request, i int) { r.SetBasicAuth(fmt.Sprint("me@ghost", i, ".example"), "wrong") },
		"unknown token":    func(r *http.Request, _ int) { r.Header.Set("Authorization", "Bearer "+guessedToken()) },
		"token of nobody":  func(r *http.Request, _ int) { r.SetBasicAuth("ghost", guessedToken()) },
		"token of another": func(r *http.Request, _ int) { r.SetBasicAuth("me", guessedToken()) },
	}
	var mu sync.Mutex
	took := map[string][]time.Duration{}
	var wait sync.WaitGroup
	for kind, change := range kinds { // beside one another, so that the machine's load is the same for all
		wait.Go(func() {
			for i := range n {
				began := time.Now()
				a, err := h.post("/msg/user", "x", func(r *http.Request) { change(r, i) })
				mu.Lock()
				took[kind] = append(took[kind], time.Since(began))
				mu.Unlock()
				if err != nil || a.status != http.StatusUnauthorized {
					t.Errorf("%s: %d %s %v", kind, a.status, a.raw, err)
					return
				}
			}
		})
	}
	wait.Wait()
	var medians []time.Duration
	for _, kind := range slices.Sorted(maps.Keys(took)) {
		times := took[kind]
		slices.Sort(times)
		at := func(share float64) time.Duration {
			return times[int(share*float64(len(times)-1))].Round(10 * time.Microsecond)
		}
		medians = append(medians, at(.5))
		t.Logf("%-17s p5 %v  median %v  p95 %v  most %v", kind, at(.05), at(.5), at(.95), at(1))
	}
	if slices.Max(medians)-slices.Min(medians) > 125*time.Millisecond {
		t.Error("the medians are half a step apart or more")
	}
}

func TestLongClusterUpgrade(t *testing.T) { clusterUpgrade(t, 10) }

func TestLongClusterFaults(t *testing.T) {
	clusterFaults(t, func(f mishap) (times int, lasts time.Duration) { return f.often, f.lasts })
}
