package xmpptest

import (
	"context"
	"testing"
	"time"
)

// patience bounds what a test waits for without saying how long: far more than
// it takes, so that only a failure lasts that long.
const patience = 20 * time.Second

// loggedTail is how much of the server's log a failed test shows.
const loggedTail = 64 << 10

// StartProsody opens a Prosody for the length of the test.
func StartProsody(tb testing.TB, o Options) *Prosody {
	tb.Helper()
	p, err := Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	p.closeWith(tb)
	return p
}

// StartProxy opens a proxy for the length of the test.
func StartProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	p, err := OpenProxy(target)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Error(err)
		}
	})
	return p
}

// StartEjabberd opens an ejabberd for the length of the test.
func StartEjabberd(tb testing.TB, o EjabberdOptions) *Ejabberd {
	tb.Helper()
	e, err := OpenEjabberd(o)
	if err != nil {
		tb.Fatal(err)
	}
	e.closeWith(tb)
	return e
}

// closeWith ends the server with the test, and shows its log if that failed.
func (s *Server) closeWith(tb testing.TB) {
	tb.Cleanup(func() {
		if tb.Failed() {
			log := s.Log()
			tb.Logf("%s's log:\n%s", s.Name, log[max(0, len(log)-loggedTail):])
		}
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
}

// Users makes accounts, all with one password.
func (s *Server) Users(tb testing.TB, password string, jids ...string) {
	tb.Helper()
	for _, jid := range jids {
		if err := s.AddUser(jid, password); err != nil {
			tb.Fatal(err)
		}
	}
}

// MustLogin logs in for the length of the test.
func (s *Server) MustLogin(tb testing.TB, jid, password string) *Client {
	tb.Helper()
	return s.mustLogin(tb, LoginOptions{JID: jid, Password: password})
}

// MustLoginWithCarbons is MustLogin for a client that gets copies of what the
// user's other clients send and receive.
func (s *Server) MustLoginWithCarbons(tb testing.TB, jid, password string) *Client {
	tb.Helper()
	return s.mustLogin(tb, LoginOptions{JID: jid, Password: password, Carbons: true})
}

func (s *Server) mustLogin(tb testing.TB, o LoginOptions) *Client {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	o.Address, o.RootCAs = s.ClientAddress, s.CA.Pool()
	c, err := Login(ctx, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

// MustReceive gives the next message, or fails the test.
func (c *Client) MustReceive(tb testing.TB) Message {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m, err := c.Receive(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// MustSend writes the XML, or fails the test.
func (c *Client) MustSend(tb testing.TB, raw string) {
	tb.Helper()
	if err := c.Send(raw); err != nil {
		tb.Fatal(err)
	}
}

// Wait returns when cond holds, and fails the test if that takes too long; what
// says what did not come.
func Wait(tb testing.TB, timeout time.Duration, what string, cond func() bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := Poll(ctx, cond); err != nil {
		tb.Fatalf("not within %v: %s", timeout, what)
	}
}

// MustFreePort is FreePort for a test.
func MustFreePort(tb testing.TB) int {
	tb.Helper()
	port, err := FreePort()
	if err != nil {
		tb.Fatal(err)
	}
	return port
}
