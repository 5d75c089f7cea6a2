package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
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

// bareCommand makes this program the bare handler, in a process of its own as
// posthorn is.
const bareCommand = "serve-bare"

// serveBare reads each body and answers 201, as little as net/http can do.
func serveBare(address string) error {
	return http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
	}))
}

// startBare runs it and waits until it listens.
func startBare(ctx context.Context) (_ *xmpptest.Process, address string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	port, err := xmpptest.FreePort()
	if err != nil {
		return nil, "", err
	}
	address = fmt.Sprintf("127.0.0.1:%d", port)
	cmd := exec.Command(self, bareCommand, address)
	cmd.Stderr = os.Stderr
	p, err := xmpptest.StartProcess(cmd)
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := xmpptest.Poll(ctx, func() bool { return xmpptest.Accepts(address) }); err != nil {
		return nil, "", errors.Join(err, p.Kill())
	}
	return p, address, nil
}

const overNothingProse = `
64 connections, a remembered password, and in the place of the XMPP server a
listener that returns barriers and drops messages, of a net/http handler that
reads the body and answers 201. Each of the two handlers is a process of its own;
the listener runs in that of the clients.
`

// overNothing: requests a second over a server that does nothing, of a bare
// handler.
func overNothing(ctx context.Context, b bench) (_ section, err error) {
	prosody, err := xmpptest.Open(xmpptest.Options{}) // for the one check of the password
	if err != nil {
		return section{}, err
	}
	defer func() { err = errors.Join(err, prosody.Close()) }()
	if err := prosody.AddUser(eight[0], password); err != nil {
		return section{}, err
	}
	n, err := openNothing()
	if err != nil {
		return section{}, err
	}
	defer n.close()
	h, err := startPosthorn(ctx, b.binary, n.address(), &prosody.Server)
	if err != nil {
		return section{}, err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	bare, address, err := startBare(ctx)
	if err != nil {
		return section{}, err
	}
	defer func() { err = errors.Join(err, bare.Kill()) }()

	requests := requestsOf(eight[:1])
	ours := &load{address: h.address, connections: 64, requests: requests, status: created, contains: `"status":"delivered"`}
	theirs := &load{address: address, connections: 64, requests: requests, status: created}
	rate, err := inTurns(ctx, b, ours, theirs)
	if err != nil {
		return section{}, fmt.Errorf("%w\n%s", err, h.log())
	}
	t := table{{"posthorn, requests/s", "bare handler, requests/s", "ratio", "target"}}
	t.add(count(median(rate.ours)), count(median(rate.theirs)), times(rate.ratio()), target(rate.ratio(), 0.6))
	return section{"Requests, of what net/http can take", overNothingProse, []table{t}}, nil
}

// inTurns compares two loads' rates.
func inTurns(ctx context.Context, b bench, ours, theirs *load) (rate comparison, err error) {
	for i := range b.rounds + 1 {
		var a, z tally
		if a, _, err = ours.run(ctx, b.span); err != nil {
			return rate, err
		}
		if z, _, err = theirs.run(ctx, b.span); err != nil {
			return rate, err
		}
		if i > 0 { // the first warms up
			rate.add(a.perSecond(), z.perSecond())
		}
	}
	return rate, nil
}
