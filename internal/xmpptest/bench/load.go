package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"
)

// answerTimeout bounds the wait for one answer; posthorn itself gives up a
// message after five seconds.
const answerTimeout = 20 * time.Second

// A load is what the clients do: each on a connection that stays, one request
// after another. It is written for little cost, since it shares the processors
// with what it measures: requests are rendered before, answers are looked at
// where they lie.
type load struct {
	address     string
	addresses   []string // of several, connection i goes to the i-th, and so on around; nil: to address
	connections int
	requests    [][]byte // connection i sends the i-th, and so on around
	status      string   // what every answer must be
	contains    string   // what every answer's body must have; empty: anything
}

// A tally is what came of one run.
type tally struct {
	answers   int
	took      time.Duration
	latencies []time.Duration // one an answer, in no order

	prosody, posthorn float64 // seconds of the processor a message, where metered
}

func (t tally) perSecond() float64 { return float64(t.answers) / t.took.Seconds() }

// run sends for that long, and then waits for every answer. Each connection
// has sent one request before the clock starts; sent counts those too.
func (l *load) run(ctx context.Context, span time.Duration) (t tally, sent int, err error) {
	clients, err := l.connect(ctx)
	defer closeAll(clients)
	if err != nil {
		return t, 0, err
	}
	began := time.Now()
	var under sync.WaitGroup
	for _, c := range clients {
		under.Go(func() { c.repeat(ctx, began.Add(span)) })
	}
	under.Wait()
	t.took = time.Since(began)
	for _, c := range clients {
		if c.err != nil {
			return t, 0, c.err
		}
		t.latencies = append(t.latencies, c.latencies...)
	}
	t.answers = len(t.latencies)
	return t, t.answers + len(clients), nil
}

// connect opens the connections and sends the first request on each, one after
// another.
func (l *load) connect(ctx context.Context) (clients []*client, err error) {
	for i := range l.connections {
		address := l.address
		if l.addresses != nil {
			address = l.addresses[i%len(l.addresses)]
		}
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return clients, err
		}
		c := &client{load: l, conn: conn, request: l.requests[i%len(l.requests)], in: make([]byte, 8<<10)}
		clients = append(clients, c)
		if err := c.ask(); err != nil {
			return clients, err
		}
	}
	return clients, nil
}

func closeAll(clients []*client) {
	for _, c := range clients {
		c.conn.Close()
	}
}

// A client is one connection.
type client struct {
	load      *load
	conn      net.Conn
	request   []byte
	in        []byte // an answer fits, or is not what we measure
	latencies []time.Duration
	err       error
}

func (c *client) repeat(ctx context.Context, end time.Time) {
	if c.err = c.conn.SetDeadline(end.Add(answerTimeout)); c.err != nil {
		return
	}
	for now := time.Now(); now.Before(end) && ctx.Err() == nil; {
		if c.err = c.ask(); c.err != nil {
			return
		}
		answered := time.Now()
		c.latencies = append(c.latencies, answered.Sub(now))
		now = answered
	}
	c.err = ctx.Err()
}

// ask sends the request and checks the answer.
func (c *client) ask() error {
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	for n := 0; ; {
		more, err := c.conn.Read(c.in[n:])
		if err != nil {
			return fmt.Errorf("after %q: %w", c.in[:n], err)
		}
		n += more
		whole, err := c.load.check(c.in[:n])
		if whole || err != nil {
			return err
		}
		if n == len(c.in) {
			return fmt.Errorf("an answer of more than %d bytes", n)
		}
	}
}

var (
	headerEnd     = []byte("\r\n\r\n")
	contentLength = []byte("\r\nContent-Length: ")
)

// check reports whether the answer is there in full, and what is wrong with it.
func (l *load) check(answer []byte) (whole bool, err error) {
	header, body, found := bytes.Cut(answer, headerEnd)
	if !found {
		return false, nil
	}
	_, rest, found := bytes.Cut(header, contentLength)
	if !found {
		return false, fmt.Errorf("no Content-Length in %q", header)
	}
	digits, _, _ := bytes.Cut(rest, headerEnd[:2])
	length, err := strconv.Atoi(string(digits))
	switch {
	case err != nil || len(body) > length:
		return false, fmt.Errorf("not one answer: %q", answer)
	case len(body) < length:
		return false, nil
	case !bytes.HasPrefix(answer, []byte(l.status)) || !bytes.Contains(body, []byte(l.contains)):
		return false, fmt.Errorf("answered %q", answer)
	}
	return true, nil
}

// created is the answer to all that is sent through posthorn.
const created = "HTTP/1.1 201 "

// text is the body of every message.
const text = "Server@host has just crashed!"

// requestsOf renders one request for each sender.
func requestsOf(senders []string) (requests [][]byte) {
	for _, sender := range senders {
		requests = append(requests, post("/msg/user", sender, "text/plain", text))
	}
	return requests
}

// post renders a request; without a user it has no credentials.
func post(path, user, contentType, body string) []byte {
	credentials := ""
	if user != "" {
		credentials = "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)) + "\r\n"
	}
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%sContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		path, credentials, contentType, len(body), body)
}
