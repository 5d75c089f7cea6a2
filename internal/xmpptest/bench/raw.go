package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"time"

	"posthorn/internal/xmpptest"
)

const (
	// blockMessages stand before each barrier of the stream's limit.
	blockMessages = 64
	// blocksInFlight keep the server busy while a barrier is on its way: more
	// of them do not make it faster.
	blocksInFlight = 4
)

// A raw component is the stream's own limit: it writes, in large pieces and
// without rendering anything anew, the very stanzas that posthorn writes, and
// of what comes back it only counts the barriers.
type raw struct {
	domain   string
	conn     net.Conn
	in       []byte
	barriers *xmpptest.Scanner
}

// dialRaw opens the stream and shakes hands (XEP-0114 §3).
func dialRaw(ctx context.Context, address, domain string) (*raw, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	r := &raw{domain: domain, conn: conn, in: make([]byte, 64<<10), barriers: xmpptest.NewScanner("<iq ")}
	if err := r.handshake(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("raw component: %w", err)
	}
	return r, nil
}

var streamID = regexp.MustCompile(`<stream:stream[^>]* id=['"]([^'"]*)['"][^>]*>`)

func (r *raw) handshake() error {
	if err := r.conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	open := "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='" + r.domain + "'>"
	if _, err := io.WriteString(r.conn, open); err != nil {
		return err
	}
	header, err := r.readUntil(streamID)
	if err != nil {
		return err
	}
	digest := sha1.Sum([]byte(string(streamID.FindSubmatch(header)[1]) + xmpptest.ComponentSecret))
	if _, err := io.WriteString(r.conn, "<handshake>"+hex.EncodeToString(digest[:])+"</handshake>"); err != nil {
		return err
	}
	_, err = r.readUntil(regexp.MustCompile(`<handshake\s*/>|<handshake></handshake>`))
	return err
}

func (r *raw) readUntil(pattern *regexp.Regexp) (heard []byte, err error) {
	for !pattern.Match(heard) {
		n, err := r.conn.Read(r.in)
		if err != nil {
			return nil, fmt.Errorf("after %q: %w", heard, err)
		}
		heard = append(heard, r.in[:n]...)
	}
	return heard, nil
}

func (r *raw) close() {
	io.WriteString(r.conn, "</stream:stream>")
	r.conn.Close()
}

// message is a stanza as posthorn writes it.
func message(from string) string {
	id := rand.Text()
	return "<message from='" + from + "' to='" + recipient + "' type='chat' id='" + id + "'><body>" + text +
		"</body><origin-id xmlns='urn:xmpp:sid:0' id='" + id + "'/></message>"
}

// block renders that many messages, from the senders in turn, and a barrier.
func (r *raw) block(senders []string, messages int) []byte {
	var b strings.Builder
	for i := range messages {
		b.WriteString(message(senders[i%len(senders)]))
	}
	fmt.Fprintf(&b, "<iq type='get' from='%s' to='%s' id='%s'><ping xmlns='urn:xmpp:ping'/></iq>", r.domain, r.domain, rand.Text())
	return []byte(b.String())
}

// run writes blocks of that many messages for that long, so many in flight,
// and waits for every barrier. A latency is the time of one block alone where
// there is one in flight.
func (r *raw) run(senders []string, messages, inFlight int, span time.Duration) (t tally, err error) {
	if err := r.conn.SetDeadline(time.Now().Add(span + answerTimeout)); err != nil {
		return t, err
	}
	block := r.block(senders, messages)
	began := time.Now()
	end, last := began.Add(span), began
	for written, back := 0, 0; ; {
		for ; written-back < inFlight && last.Before(end); written++ {
			if _, err := r.conn.Write(block); err != nil {
				return t, err
			}
		}
		if written == back {
			t.answers, t.took = back*messages, last.Sub(began)
			return t, nil
		}
		n, err := r.read()
		if err != nil {
			return t, err
		}
		if n == 0 {
			continue
		}
		now := time.Now()
		if inFlight == 1 {
			t.latencies = append(t.latencies, now.Sub(last))
		}
		back, last = back+n, now
	}
}

// read gives how many barriers came back. Nothing else may come.
func (r *raw) read() (barriers int, err error) {
	n, err := r.conn.Read(r.in)
	if err != nil {
		return 0, err
	}
	if heard := r.in[:n]; bytes.Contains(heard, []byte("<message")) || bytes.Contains(heard, []byte("<stream:error")) {
		return 0, fmt.Errorf("raw component: the server says %q", heard)
	}
	return r.barriers.Count(r.in[:n]), nil
}
