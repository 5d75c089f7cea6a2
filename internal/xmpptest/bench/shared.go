package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"posthorn/internal/pgtest"
	"posthorn/internal/xmpptest"
)

const sharedProse = `
One posthorn with SQLite, and one or two that share a PostgreSQL on the same machine, as
it is by default: every commit waits for the disk. *Confirmed* is as above: each answered
201 with ` + "`delivered`" + `, and counted at the recipient. With SQLite such a message does not
touch the disk; with PostgreSQL it is written before it is sent, claimed by the posthorn
that has the stream, and its outcome is written before it is told. *Accepted* is while the
server is away: each answered 202 after it is on disk, by either. With two, every other
connection is to the second, which has no stream. All share the processors with Prosody,
PostgreSQL, the recipient and the clients.
`

// sharedConnections are those of the clients.
var sharedConnections = []int{1, 16, 64}

// sharedDomain is the component of those that share: another than that of the one that
// does not, beside which they run.
const sharedDomain = "shared." + xmpptest.Domain

const sharedComponent = `
Component "` + sharedDomain + `"
	component_secret = "` + xmpptest.ComponentSecret + `"
	validate_from_addresses = false
	component_conflict_resolve = "kick_old"
`

// A row is what came of one number of connections: rates of all rounds, a second.
type row struct {
	connections                int
	sqlite, one, two, stream   []float64 // confirmed
	slow                       [3][]float64
	kept, keptByOne, keptByTwo []float64 // accepted
}

// A crowd are the posthorns that share a database.
type crowd struct {
	*site
	postgres *pgtest.Server
	sharing  []*posthorn
}

// shared: what several posthorns that share a database can do, of what one can.
func shared(ctx context.Context, b bench) (_ section, err error) {
	c, err := openCrowd(ctx, b)
	if err != nil {
		return section{}, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	var rows []*row
	for _, n := range sharedConnections {
		rows = append(rows, &row{connections: n})
	}
	for range b.rounds {
		for _, r := range rows {
			if err := c.confirm(ctx, b, r); err != nil {
				return section{}, fmt.Errorf("%d connections: %w\n%s", r.connections, err, c.logs())
			}
		}
	}
	if err := c.accept(ctx, b, rows); err != nil {
		return section{}, fmt.Errorf("%w\n%s", err, c.logs())
	}
	return sharedSection(rows), nil
}

func openCrowd(ctx context.Context, b bench) (c *crowd, err error) {
	c = &crowd{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.site, err = openSite(ctx, b.binary); err != nil {
		return c, err
	}
	if c.postgres, err = pgtest.Open(pgtest.Options{}); err != nil {
		return c, err
	}
	url, err := c.postgres.CreateDatabase()
	if err != nil {
		return c, err
	}
	for range 2 {
		p, err := startPosthorn(ctx, b.binary, c.prosody.ComponentAddress, &c.prosody.Server,
			"POSTHORN_STORE="+url, "POSTHORN_COMPONENT_DOMAIN="+sharedDomain)
		if err != nil {
			return c, err
		}
		c.sharing = append(c.sharing, p)
	}
	return c, nil
}

func (c *crowd) close() (err error) {
	for _, p := range c.sharing {
		err = errors.Join(err, p.stop())
	}
	if c.postgres != nil {
		err = errors.Join(err, c.postgres.Close())
	}
	if c.site != nil {
		err = errors.Join(err, c.site.close())
	}
	return err
}

func (c *crowd) logs() string {
	var all strings.Builder
	for _, p := range append(c.sharing, c.posthorn) {
		all.WriteString(p.log() + "\n")
	}
	return all.String()
}

// confirm measures a row, as long as the server is there.
func (c *crowd) confirm(ctx context.Context, b bench, r *row) error {
	for i, m := range []struct {
		to   []*posthorn
		rate *[]float64
	}{{[]*posthorn{c.posthorn}, &r.sqlite}, {c.sharing[:1], &r.one}, {c.sharing, &r.two}} {
		t, sent, err := sendTo(ctx, m.to, r.connections, created, b.span)
		if err != nil {
			return err
		}
		if err := c.inbox.await(ctx, sent); err != nil {
			return err
		}
		*m.rate = append(*m.rate, t.perSecond())
		r.slow[i] = append(r.slow[i], median(t.latencies).Seconds())
	}
	written, err := c.write(ctx, &level{senders: eight, connections: r.connections}, b.span)
	r.stream = append(r.stream, written.perSecond())
	return err
}

// accept measures all rows, once the server is gone.
func (c *crowd) accept(ctx context.Context, b bench, rows []*row) error {
	c.raw.close()
	c.inbox.close()
	if err := c.prosody.Stop(); err != nil {
		return err
	}
	for range b.rounds {
		for _, r := range rows {
			for _, m := range []struct {
				to   []*posthorn
				rate *[]float64
			}{{[]*posthorn{c.posthorn}, &r.kept}, {c.sharing[:1], &r.keptByOne}, {c.sharing, &r.keptByTwo}} {
				t, _, err := sendTo(ctx, m.to, r.connections, "HTTP/1.1 202 ", b.span)
				if err != nil {
					return err
				}
				*m.rate = append(*m.rate, t.perSecond())
			}
		}
	}
	return nil
}

// sendTo divides the connections among posthorns; one connection is to the last.
func sendTo(ctx context.Context, to []*posthorn, connections int, status string, span time.Duration) (all tally, sent int, err error) {
	var addresses []string
	for _, p := range to {
		addresses = append(addresses, p.address)
	}
	if connections < len(to) {
		addresses = addresses[len(to)-1:]
	}
	clients := load{addresses: addresses, connections: connections, requests: requestsOf(eight), status: status}
	return clients.run(ctx, span)
}

func sharedSection(rows []*row) section {
	confirmed := table{{"connections", "SQLite", "PostgreSQL, one", "two", "of SQLite, one", "two", "of the stream, one", "two", "p50 SQLite", "one", "two"}}
	accepted := table{{"connections", "SQLite", "PostgreSQL, one", "two", "of SQLite, one", "two"}}
	for _, r := range rows {
		confirmed.add(fmt.Sprint(r.connections), count(median(r.sqlite)), count(median(r.one)), count(median(r.two)),
			of(r.one, r.sqlite), of(r.two, r.sqlite), of(r.one, r.stream), of(r.two, r.stream),
			seconds(median(r.slow[0])), seconds(median(r.slow[1])), seconds(median(r.slow[2])))
		accepted.add(fmt.Sprint(r.connections), count(median(r.kept)), count(median(r.keptByOne)), count(median(r.keptByTwo)),
			of(r.keptByOne, r.kept), of(r.keptByTwo, r.kept))
	}
	return section{"Several posthorns, one PostgreSQL", sharedProse, []table{confirmed, accepted}}
}

func of(ours, theirs []float64) string {
	c := comparison{ours, theirs}
	return times(c.ratio())
}
