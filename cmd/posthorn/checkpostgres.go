package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"posthorn/internal/message"
	"posthorn/internal/store"
)

// someHolder is who may have the lease where that cannot be read.
const someHolder = "a posthorn that is not known"

// checkPostgres looks at a database in PostgreSQL. It gives the posthorn that has the lease.
func checkPostgres(ctx context.Context, r *report, c *config, all running) (holder string) {
	s, err := c.openBeside(ctx)
	switch {
	case c.isNew(err):
		r.ok("store", "%s: its tables will be made when the service starts", c.storeName())
		return ""
	case err != nil:
		r.fail("store", err, "try psql with the same URL: is PostgreSQL running and reachable, is there such a role and database, and does pg_hba.conf let it in?")
		return someHolder
	}
	defer start(s.Run)()
	server, err := s.Server(ctx)
	if err != nil {
		r.fail("store", err, "see PostgreSQL's log")
		return someHolder
	}
	if address := all.failing(); address != "" { // although it works from here
		r.fail("store", cannotWrite(c, address), "its log says why (messages cannot be kept)")
	} else {
		reportPostgres(ctx, r, c, s, server)
	}
	checkTokens(ctx, r, c, s)
	lease, err := s.ReadLease(ctx)
	if err != nil {
		r.fail("lease", err, "see what is said of the store")
		return someHolder
	}
	return reportLease(r, lease)
}

// reportPostgres says what there is, and what could lose it or show it to others.
func reportPostgres(ctx context.Context, r *report, c *config, s *store.Store, server store.Server) {
	text := c.storeName() + ", " + server.Version
	if piles, _, err := s.Tally(ctx); err == nil {
		kept := 0
		for _, p := range piles {
			kept += p.Count
		}
		text += fmt.Sprintf(", %d messages wait there", kept)
	}
	risks := server.Risks
	if isOpen(c.storeURL.Reveal(), os.Getenv) {
		risks = append(slices.Clone(risks), "the connection may be without TLS: add sslmode=verify-full to its URL, and sslrootcert where the authority is your own")
	}
	for _, risk := range risks {
		what, hint, _ := strings.Cut(risk, ": ")
		r.warn("store", hint, "%s: %s", c.storeName(), what)
	}
	if len(risks) == 0 {
		r.ok("store", "%s", text)
	}
}

// isOpen reports whether a connection to another machine may be one that others can read,
// or answer: without sslmode, PostgreSQL's clients take TLS where it is offered.
func isOpen(at string, getenv func(string) string) bool {
	u, err := url.Parse(at)
	if err != nil {
		return false
	}
	query := u.Query()
	mode := cmp.Or(query.Get("sslmode"), getenv("PGSSLMODE"))
	hosts := strings.Split(cmp.Or(query.Get("host"), u.Host, getenv("PGHOST")), ",")
	return slices.ContainsFunc(hosts, isElsewhere) && !slices.Contains([]string{"require", "verify-ca", "verify-full"}, mode)
}

// isElsewhere reports whether a host, which may have a port, is another machine; a path is
// a socket of this one.
func isElsewhere(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host != "" && host != "localhost" && host[0] != '/' && (ip == nil || !ip.IsLoopback())
}

// reportLease says who sends for all that share the database, and gives its name if it
// is, or may be, connected to the XMPP server.
func reportLease(r *report, lease message.Lease) (holder string) {
	switch {
	case lease.Term == 0:
		r.ok("lease", "no posthorn has had the stream yet")
	case lease.Left <= 0 && lease.Holder == "":
		r.ok("lease", "no posthorn has the stream: the last one has given it back")
	case lease.Left <= 0:
		r.ok("lease", "no posthorn has the stream: %s had it, until %s ago", lease.Holder, (-lease.Left).Round(time.Second))
	case lease.Stream != "up":
		r.warn("lease", "see what is said of the component, and its log; another one that can connect takes the lease within seconds", "%s has it, and its stream is %s", lease.Holder, cmp.Or(lease.Stream, "not known yet"))
		if lease.Stream == "" {
			return lease.Holder
		}
	default:
		r.ok("lease", "%s has the stream, which is up, for another %s", lease.Holder, lease.Left.Round(time.Millisecond))
		return lease.Holder
	}
	return ""
}
