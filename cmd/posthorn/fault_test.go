package main

import (
	"net/http"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// wireFaults are what happens to the connection between posthorn and the
// server.
var wireFaults = []struct {
	name     string
	to, from xmpptest.Wire
	seen     bool                  // by clients, who get no 201 then
	end      func(*xmpptest.Proxy) // how it ends; nil: by itself
}{
	{"slow", xmpptest.Wire{Delay: 20e6}, xmpptest.Wire{Delay: 20e6}, false, nil},
	{"single bytes", xmpptest.Wire{Single: true}, xmpptest.Wire{Single: true}, false, nil},
	{"cut", xmpptest.Wire{}, xmpptest.Wire{}, false, (*xmpptest.Proxy).Cut},
	{"reset", xmpptest.Wire{}, xmpptest.Wire{}, false, (*xmpptest.Proxy).Reset},
	{"nothing comes back", xmpptest.Wire{}, xmpptest.Wire{Stalled: true}, true, nil},
	{"nothing gets there", xmpptest.Wire{Stalled: true}, xmpptest.Wire{}, true, nil},
	{"nothing comes back, then a cut", xmpptest.Wire{}, xmpptest.Wire{Stalled: true}, true, (*xmpptest.Proxy).Cut},
	{"half-open, then a reset", xmpptest.Wire{Stalled: true}, xmpptest.Wire{Stalled: true}, true, (*xmpptest.Proxy).Reset},
}

// TestWireFaults: whatever happens to the connection to the server, requests
// are answered in time, with what is true, and messages flow again after it.
// `make soak` does it again and again.
func TestWireFaults(t *testing.T) {
	onBoth(t, func(t *testing.T, p *xmpptest.Server) { wireFaultsUnderLoad(t, p, 8, 0, 1) })
}

func wireFaultsUnderLoad(t *testing.T, p *xmpptest.Server, clients int, pause time.Duration, rounds int) {
	wire := xmpptest.StartProxy(t, p.ComponentAddress)
	h := startPosthorn(t, p, p.ComponentAddress, wire.Address, "log: {level: debug}", "delivery: {confirm_timeout: 500ms}\nlog: {level: info}").ready(t)
	tr := startTraffic(t, h, clients, pause, justMe, h.expected.sorts...)
	for range rounds {
		for _, fault := range wireFaults {
			tr.flows(t, 50)
			connections := wire.Accepted()
			wire.Set(fault.to, fault.from)
			if fault.seen {
				tr.await(t, clients, http.StatusGatewayTimeout, http.StatusServiceUnavailable)
			} else {
				tr.flows(t, 50)
			}
			if fault.end != nil {
				fault.end(wire)
			}
			wire.Set(xmpptest.Wire{}, xmpptest.Wire{})
			tr.flows(t, 50) // on the connection that there is now
			if again := wire.Accepted() > connections; again != (fault.end != nil) {
				t.Errorf("%s: connected again: %v", fault.name, again)
			}
		}
	}
	tr.finish()
	tr.compare(t, p.MustLogin(t, "user@example.com", password))
}
