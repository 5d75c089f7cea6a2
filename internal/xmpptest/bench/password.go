package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"posthorn/auth"
	"posthorn/internal/secret"
	"posthorn/internal/xmpptest"
)

// Checks of one round. A probe takes milliseconds and processor time is counted
// in hundredths of a second; what is remembered takes less than a microsecond.
const (
	probesARound = 50
	cachedARound = 50000
)

// A check is one way in which a password is checked, and what that cost.
type check struct {
	name    string
	server  *xmpptest.Server
	asker   *auth.Verifier
	times   int       // a round
	took    []float64 // seconds each
	servers []float64 // seconds of the server's processor each
	ours    []float64 // seconds of ours each
}

// openCheck takes over the server and asks it once.
func openCheck(ctx context.Context, name string, server *xmpptest.Server, ttl time.Duration, times int) (c *check, err error) {
	c = &check{name: name, server: server, times: times}
	host := auth.Host{Domain: xmpptest.Domain, Address: server.ClientAddress, RootCAs: server.CA.Pool()}
	c.asker, err = auth.New(auth.Options{Hosts: []auth.Host{host}, CacheTTL: ttl, CacheSize: 10000})
	if err == nil {
		err = server.AddUser(eight[0], password)
	}
	if err == nil {
		err = c.ask(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), c.close())
	}
	return c, nil
}

func (c *check) ask(ctx context.Context) error {
	_, err := c.asker.Verify(ctx, eight[0], secret.New(password), netip.Addr{})
	return err
}

func (c *check) close() error {
	if c.asker != nil {
		c.asker.Close()
	}
	return c.server.Close()
}

// round checks the password that many times, one after another.
func (c *check) round(ctx context.Context) error {
	before, err := processorTimes(c.server.Pid(), os.Getpid())
	if err != nil {
		return err
	}
	began := time.Now()
	for range c.times {
		if err := c.ask(ctx); err != nil {
			return err
		}
	}
	took := time.Since(began)
	after, err := processorTimes(c.server.Pid(), os.Getpid())
	if err != nil {
		return err
	}
	each := func(d time.Duration) float64 { return d.Seconds() / float64(c.times) }
	c.took = append(c.took, each(took))
	c.servers = append(c.servers, each(after[0]-before[0]))
	c.ours = append(c.ours, each(after[1]-before[1]))
	return nil
}

const passwordsProse = `
One check after another, over TLS 1.3, by posthorn's package auth in the
benchmark's own process. A probe is a connection, STARTTLS, SASL, a resource and the end of the
stream. With SCRAM
the client runs PBKDF2, with PLAIN the server does, and Prosody serves nobody else
meanwhile. The server's processor time includes that for TLS; it is
counted in ticks of 10 ms over 50 probes.
`

func prosodyWith(lua string) func() (*xmpptest.Server, error) {
	return func() (*xmpptest.Server, error) {
		p, err := xmpptest.Open(xmpptest.Options{Global: lua})
		if err != nil {
			return nil, err
		}
		return &p.Server, nil
	}
}

func ejabberd() (*xmpptest.Server, error) {
	e, err := xmpptest.OpenEjabberd(xmpptest.EjabberdOptions{})
	if err != nil {
		return nil, err
	}
	return &e.Server, nil
}

// passwords: what a check of a password takes, and from whom.
func passwords(ctx context.Context, b bench) (_ section, err error) {
	var checks []*check
	defer func() {
		for _, c := range checks {
			err = errors.Join(err, c.close())
		}
	}()
	for _, k := range []struct {
		name   string
		server func() (*xmpptest.Server, error)
		ttl    time.Duration
		times  int
	}{
		{"Prosody, SCRAM-SHA-1", prosodyWith(""), 0, probesARound},
		{"Prosody, PLAIN", prosodyWith(`disable_sasl_mechanisms = { "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS" }`), 0, probesARound},
		{"ejabberd, SCRAM-SHA-1", ejabberd, 0, probesARound},
		{"remembered", prosodyWith(""), time.Hour, cachedARound},
	} {
		server, err := k.server()
		if err != nil {
			return section{}, err
		}
		c, err := openCheck(ctx, k.name, server, k.ttl, k.times)
		if err != nil {
			return section{}, err
		}
		checks = append(checks, c)
	}
	for range b.rounds {
		for _, c := range checks {
			if err := c.round(ctx); err != nil {
				return section{}, err
			}
		}
	}
	t := table{{"a check", "takes", "the server's processor", "posthorn's processor"}}
	for _, c := range checks {
		t.add(c.name, seconds(median(c.took)), seconds(median(c.servers)), seconds(median(c.ours)))
	}
	return section{"A check of a password", passwordsProse, []table{t}}, nil
}
