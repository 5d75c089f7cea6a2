package xmpptest

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"
)

// pollInterval is short beside everything that is waited for, and long beside
// what asking costs.
const pollInterval = 5 * time.Millisecond

// Poll asks until cond holds; it returns the context's cause if that ends
// first. The condition is asked once at least.
func Poll(ctx context.Context, cond func() bool) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

// Accepts reports whether something listens at the TCP address.
func Accepts(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// Ports are drawn below the range from which Linux takes the local ends of
// outgoing connections (32768 and up). A server that is down leaves its port
// empty, and a client that keeps dialling it would in that range sooner or
// later be given this very port, connect to itself, and keep the server out.
const (
	firstPort = 15000
	lastPort  = 32000
)

// drawn remembers the ports given out, so that two servers of one program
// never get the same before either listens.
var drawn sync.Map

// FreePort is a TCP port on 127.0.0.1 on which nothing listens, and which it
// gives out only once.
func FreePort() (int, error) {
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		l, err := net.Listen("tcp", loopback(port))
		if err != nil {
			continue
		}
		l.Close()
		if _, taken := drawn.LoadOrStore(port, true); !taken {
			return port, nil
		}
	}
	return 0, errors.New("xmpptest: no free port on 127.0.0.1")
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func portOf(address string) (string, error) {
	_, port, err := net.SplitHostPort(address)
	return port, err
}
