package main

import (
	"context"
	"errors"
	"fmt"

	"posthorn/internal/xmpptest"
)

// A rival is ejabberd with its own way from HTTP to XMPP, with posthorn beside
// it, and with a recipient who reads.
type rival struct {
	server   *xmpptest.Ejabberd
	posthorn *posthorn
	inbox    inbox
}

func openRival(ctx context.Context, binary string) (r *rival, err error) {
	r = &rival{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.server, err = xmpptest.OpenEjabberd(xmpptest.EjabberdOptions{}); err != nil {
		return r, err
	}
	if r.inbox, err = openInbox(ctx, &r.server.Server); err != nil {
		return r, err
	}
	r.posthorn, err = startPosthorn(ctx, binary, r.server.ComponentAddress, &r.server.Server)
	return r, err
}

func (r *rival) close() (err error) {
	r.inbox.close()
	if r.posthorn != nil {
		err = r.posthorn.stop()
	}
	if r.server != nil {
		err = errors.Join(err, r.server.Close())
	}
	return err
}

// sendMessage asks mod_http_api, with each sender's password or without any.
func (r *rival) sendMessage(withPassword bool) load {
	l := load{address: r.server.APIAddress, status: "HTTP/1.1 200 ", contains: "0"}
	for _, sender := range eight {
		user := ""
		if withPassword {
			user = sender
		}
		body := fmt.Sprintf(`{"type":"chat","from":%q,"to":%q,"subject":"","body":%q}`, sender, recipient, text)
		l.requests = append(l.requests, post("/api/send_message", user, "application/json", body))
	}
	return l
}

// A contender is one way to get a message from HTTP to the recipient.
type contender struct {
	name  string
	load  load
	inbox *inbox
	least float64 // what posthorn on Prosody has to be of it; 0: no target
	rate  []comparison
}

// through is posthorn beside a server, which says that much of a message.
func through(h *posthorn, status string) load {
	return load{address: h.address, requests: requestsOf(eight), status: created, contains: `"status":"` + status + `"`}
}

var rivalConnections = []int{1, 16, 64}

const rivalsProse = `
The same messages from the same eight senders, on Prosody and on ejabberd, each with
a recipient who reads: posthorn, and send_message of ejabberd's mod_http_api, with
Basic and the default storage of passwords (SCRAM), and without authentication, its
best case. Ratios are posthorn on Prosody over the other; the targets are for 64
connections. ejabberd answers 200 whether or not the recipient exists, and tells
posthorn no more than that it took the message.
`

// rivals: messages a second through posthorn and through ejabberd's own API.
func rivals(ctx context.Context, b bench) (_ section, err error) {
	s, err := openSite(ctx, b.binary)
	if err != nil {
		return section{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	r, err := openRival(ctx, b.binary)
	if err != nil {
		return section{}, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	ours := &contender{"posthorn on Prosody", through(s.posthorn, "delivered"), &s.inbox, 0, nil}
	others := []*contender{
		{"posthorn on ejabberd", through(r.posthorn, "routed"), &r.inbox, 0, nil},
		{"send_message, Basic", r.sendMessage(true), &r.inbox, 35, nil},
		{"send_message, no authentication", r.sendMessage(false), &r.inbox, 2, nil},
	}
	for i := range b.rounds + 1 {
		for j, connections := range rivalConnections {
			if err := against(ctx, b, ours, others, connections, i, j); err != nil {
				return section{}, err
			}
		}
	}
	return rivalsSection(others), nil
}

// against lets all send once, in turns. The first round warms up.
func against(ctx context.Context, b bench, ours *contender, others []*contender, connections, round, level int) error {
	mine, err := ours.run(ctx, connections, b)
	if err != nil {
		return err
	}
	for _, c := range others {
		theirs, err := c.run(ctx, connections, b)
		if err != nil {
			return err
		}
		if round == 0 {
			c.rate = append(c.rate, comparison{})
			continue
		}
		c.rate[level].add(mine, theirs)
	}
	return nil
}

func (c *contender) run(ctx context.Context, connections int, b bench) (float64, error) {
	c.load.connections = connections
	t, sent, err := c.load.run(ctx, b.span)
	if err == nil {
		err = c.inbox.await(ctx, sent)
	}
	if err != nil {
		return 0, fmt.Errorf("%s, %d connections: %w", c.name, connections, err)
	}
	return t.perSecond(), nil
}

func rivalsSection(others []*contender) section {
	t := table{{"connections", "", "messages/s", "posthorn on Prosody", "ratio", "target"}}
	for j, connections := range rivalConnections {
		for _, c := range others {
			goal, rate := "", c.rate[j]
			if c.least > 0 && connections == 64 {
				goal = target(rate.ratio(), c.least)
			}
			t.add(fmt.Sprint(connections), c.name, count(median(rate.theirs)), count(median(rate.ours)), times(rate.ratio()), goal)
		}
	}
	return section{"Beside ejabberd's HTTP API", rivalsProse, []table{t}}
}
