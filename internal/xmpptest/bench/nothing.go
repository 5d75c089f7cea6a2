package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"regexp"
	"sync"

	"posthorn/internal/xmpptest"
)

// A nothing is the end of a component's stream (XEP-0114) that drops all
// messages: what is left is what posthorn itself costs.
type nothing struct {
	listener net.Listener
	under    sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn // guarded by mu
}

func openNothing() (*nothing, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n := &nothing{listener: l}
	n.under.Go(n.accept)
	return n, nil
}

func (n *nothing) address() string { return n.listener.Addr().String() }

func (n *nothing) accept() {
	for {
		conn, err := n.listener.Accept()
		if err != nil {
			return
		}
		n.mu.Lock()
		n.conns = append(n.conns, conn)
		n.mu.Unlock()
		n.under.Go(func() {
			defer conn.Close()
			n.serve(conn) // its error is posthorn's, which then has no stream
		})
	}
}

func (n *nothing) close() {
	n.listener.Close()
	n.mu.Lock()
	for _, conn := range n.conns {
		conn.Close()
	}
	n.mu.Unlock()
	n.under.Wait()
}

const streamHeader = `<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' ` +
	`xmlns:stream='http://etherx.jabber.org/streams' from='` + xmpptest.ComponentDomain + `' id='nothing'>`

// question is one of the two messages by which posthorn finds out how it may
// speak, before any other: from an address that cannot exist.
var question = regexp.MustCompile(`<message from='(posthorn-[^']*)' to='([^']*)' type='chat' id='([^']*)'>`)

// serve takes any handshake, answers the questions as Prosody would, and from
// then on only returns barriers.
func (n *nothing) serve(conn net.Conn) error {
	in := pieces{conn: conn, buf: make([]byte, 256<<10)}
	for _, step := range []struct{ until, answer string }{
		{"<stream:stream", ""}, {">", streamHeader}, {"</handshake>", "<handshake/>"},
	} {
		if _, err := in.until(step.until); err != nil {
			return err
		}
		if _, err := io.WriteString(conn, step.answer); err != nil {
			return err
		}
	}
	for {
		before, err := in.until("<iq ")
		if err != nil {
			return err
		}
		out := answers(before)
		rest, err := in.until("</iq>")
		if err != nil {
			return err
		}
		if _, err := conn.Write(append(append(out, "<iq "...), rest...)); err != nil {
			return err
		}
	}
}

// answers are those to the questions among the messages: one to the component
// itself comes back, one to nobody bounces. Of other messages it sees that they
// are none by their first bytes.
func answers(messages []byte) (out []byte) {
	if !bytes.HasPrefix(messages, []byte("<message from='posthorn-")) {
		return nil
	}
	for _, m := range question.FindAllSubmatch(messages, -1) {
		if string(m[2]) == xmpptest.ComponentDomain {
			out = fmt.Appendf(out, "<message from='%s' to='%s' type='chat' id='%s'/>", m[1], m[2], m[3])
			continue
		}
		out = fmt.Appendf(out, "<message from='%s' to='%s' type='error' id='%s'><error type='cancel'>"+
			"<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>", m[2], m[1], m[3])
	}
	return out
}

// pieces reads up to texts.
type pieces struct {
	conn       net.Conn
	buf        []byte
	start, end int // of what is read and not used
}

// until gives what comes up to that text and with it. It is valid until the
// next call. Of what is too much to keep it gives the end.
func (p *pieces) until(text string) ([]byte, error) {
	for seen := p.start; ; {
		if i := bytes.Index(p.buf[seen:p.end], []byte(text)); i >= 0 {
			piece := p.buf[p.start : seen+i+len(text)]
			p.start = seen + i + len(text)
			return piece, nil
		}
		seen = max(p.start, p.end-len(text)+1)
		if p.end == len(p.buf) {
			keep := p.start
			if keep == 0 {
				keep = seen
			}
			p.end = copy(p.buf, p.buf[keep:p.end])
			seen -= keep
			p.start = 0
		}
		n, err := p.conn.Read(p.buf[p.end:])
		if err != nil {
			return nil, err
		}
		p.end += n
	}
}
