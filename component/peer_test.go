package component

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
	"posthorn/internal/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A peer is the server's end of one scripted connection.
type peer struct {
	conn     net.Conn
	reader   *stream.Reader
	barriers int   // how many it got
	lots     int   // and how many lots before those
	err      error // why hear gave nil

	checkFrom bool // as server.checkFrom, for this connection
}

// accept answers the header and the handshake, as Prosody does.
func (p *peer) accept() bool {
	p.reader = stream.NewReader(p.conn, stream.Limits{Size: 1 << 20, Depth: 32})
	if _, err := p.reader.Open(); err != nil {
		return false
	}
	p.say(`<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' id='s1' from='post.example.com'>`)
	const digest = "3d1121b21f6287dc58010ebe9a95fa84ee2483d4" // SHA-1 of s1 and secret
	if e := p.hear(); e == nil || e.Name.Local != "handshake" || e.Text != digest {
		return false
	}
	return p.say(`<handshake/>`)
}

func (p *peer) say(format string, args ...any) bool {
	_, err := fmt.Fprintf(p.conn, format, args...)
	return err == nil
}

// hear gives the next element, or nil at the end.
func (p *peer) hear() *stream.Element {
	e, err := p.reader.Next()
	if err != nil {
		p.err = err
		return nil
	}
	return e
}

func (p *peer) streamError(condition string) {
	p.say(`<stream:error><%s xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>`, condition)
	_ = p.conn.Close()
}

// A server is a scripted XMPP server that behaves like Prosody unless one of
// its functions says otherwise.
type server struct {
	connect    func(n int, p *peer) bool                    // before the handshake; false: the script is over
	greet      func(n int, p *peer)                         // right after the handshake
	onMessage  func(n int, p *peer, e *stream.Element) bool // true: handled
	onBarrier  func(n int, p *peer, e *stream.Element) bool
	onPresence func(n int, p *peer, e *stream.Element) // nil: it is ignored
	onAnswer   func(e *stream.Element)                 // answers of the component's; nil: they are ignored
	onInquiry  func(n int, p *peer, e *stream.Element) // questions of the component's to others; nil: they are ignored
	ended      func(error)                             // how the component's side of a connection ended
	mute       bool                                    // does not tell what it cannot deliver, as ejabberd
	deaf       bool                                    // swallows what is sent in the name of others, to ourselves too
	checkFrom  bool                                    // ends the stream on a from of another domain
	elsewhere  func(n, lot int) bool                   // another connection gets that lot; nil: there is none

	stopped chan struct{} // closed at the test's end

	mu          sync.Mutex
	connections int
	got         []*stream.Element // messages to others, in order
}

func (s *server) dial(context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	s.mu.Lock()
	n := s.connections
	s.connections++
	s.mu.Unlock()
	go func() {
		defer theirs.Close()
		s.serve(n, &peer{conn: theirs})
	}()
	return ours, nil
}

func (s *server) serve(n int, p *peer) {
	if s.connect != nil && !s.connect(n, p) {
		return
	}
	if !p.accept() {
		return
	}
	if s.greet != nil {
		s.greet(n, p)
	}
	for e := p.hear(); e != nil; e = p.hear() {
		switch {
		case (s.checkFrom || p.checkFrom) && !strings.HasSuffix(e.Attr("from"), "post.example.com"):
			p.streamError("invalid-from")
			return
		case e.Name.Local == "iq" && e.Attr("from") == e.Attr("to") && p.lots < lots: // they come first
			if p.lots++; s.elsewhere == nil || !s.elsewhere(n, p.lots-1) {
				p.say(`<iq type='get' from='post.example.com' to='post.example.com' id='%s'/>`, e.Attr("id"))
			}
		case e.Name.Local == "iq" && e.Attr("from") == e.Attr("to"):
			p.barriers++
			if s.onBarrier == nil || !s.onBarrier(n, p, e) {
				p.say(`<iq type='get' from='post.example.com' to='post.example.com' id='%s'/>`, e.Attr("id"))
			}
		case e.Name.Local == "iq" && e.Attr("type") == "get" && s.onInquiry != nil:
			s.onInquiry(n, p, e)
		case e.Name.Local == "iq" && s.onAnswer != nil:
			s.onAnswer(e)
		case e.Name.Local == "message":
			s.message(n, p, e)
		case e.Name.Local == "presence" && s.onPresence != nil:
			s.onPresence(n, p, e)
		}
	}
	if s.ended != nil {
		s.ended(p.err)
	}
}

func (s *server) message(n int, p *peer, e *stream.Element) {
	from, to, id := e.Attr("from"), e.Attr("to"), e.Attr("id")
	switch {
	case s.deaf:
	case to == "post.example.com":
		p.say(`<message from='%s' to='%s' id='%s' type='chat'/>`, from, to, id)
	case s.mute && strings.HasPrefix(to, "posthorn-"):
	case strings.HasPrefix(to, "posthorn-"), strings.HasPrefix(to, "ghost@"):
		p.say(`<message from='%s' to='%s' id='%s' type='error'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`, to, from, id)
	case s.onMessage != nil && s.onMessage(n, p, e):
	default:
		s.mu.Lock()
		s.got = append(s.got, e)
		s.mu.Unlock()
	}
}

// received gives the messages to others so far.
func (s *server) received() []*stream.Element {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*stream.Element(nil), s.got...)
}

func (s *server) dials() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connections
}

// options are those of a component on s.
func (s *server) options(t *testing.T) Options {
	return Options{
		Domain: "post.example.com", Secret: secret.New("secret"), Hosts: []string{"example.com"},
		MaxStanza: 10000, ConfirmTimeout: 5 * time.Second, RoomIdle: 10 * time.Minute,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Metrics: prometheus.NewRegistry(), Dial: s.dial,
	}
}

// start runs a component on s until the test ends.
func (s *server) start(t *testing.T, change ...func(*Options)) *Component {
	t.Helper()
	opts := s.options(t)
	for _, f := range change {
		f(&opts)
	}
	s.stopped = make(chan struct{})
	c := New(opts)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		close(s.stopped)
		<-done
	})
	return c
}

func text(to message.JID, id string) *message.Message {
	return &message.Message{From: "me@example.com", To: to, Type: message.Chat, ID: id, Body: "text " + id}
}

// body gives the text of a message that the server received.
func body(e *stream.Element) string {
	b := e.Child(e.Name.Space, "body")
	if b == nil {
		return ""
	}
	return b.Text
}

// Deliver submits m and waits for what becomes of it, no longer than the confirm
// timeout.
func (c *Component) Deliver(ctx context.Context, m *message.Message) (message.Status, error) {
	outcomes := make(chan outcome, 1)
	withdraw, err := c.Submit(m, func(status message.Status, err error) {
		o := outcome{status: status}
		if err != nil {
			o.err = fault.Of(err)
		}
		outcomes <- o
	})
	if err != nil {
		return "", err
	}
	timeout := time.NewTimer(c.opts.ConfirmTimeout)
	defer timeout.Stop()
	select {
	case o := <-outcomes:
		return o.result()
	case <-timeout.C:
	case <-ctx.Done():
	}
	if withdraw() {
		return "", fault.New(fault.Unavailable, "not taken in time")
	}
	select {
	case o := <-outcomes:
		return o.result()
	default:
		return "", fault.New(fault.Unconfirmed, "not confirmed in time")
	}
}
