// Package component implements the component side of XEP-0114: Jabber
// Component Protocol (version 1.6), as far as posthorn needs it: it puts
// messages on the stream and finds out what became of them.
//
// It does not keep a message beyond the wait of the one who gave it, does not
// check who may send, and never lets a stranger's stanza decide anything.
//
// The way of a message:
//
//  1. Submit puts it into a bounded queue.
//  2. The writer takes all that waits, encodes it into one buffer, appends a
//     barrier (an IQ to the component's own domain) and writes once.
//  3. The server handles the stream in order. An error for a message comes
//     back before the barrier and is that message's outcome.
//  4. The reader meets the barrier: every message before it that got no error
//     was processed.
//
// A message to a room is confirmed by the room, which sends it back to everybody
// (rooms.go).
//
// A session is one connection's life. Between two of them Run waits with full
// jitter. At its start a session finds out whether another connection has the domain
// too (alone.go) and, for each host, whether the server lets the component speak for
// that host's users, and how (voice.go). A server that
// does not answer is given up (patience.go), and where posthorns take turns, a session
// ends with its turn (fence.go).
//
// Users of its hosts can give it commands from their own clients (adhoc.go). What
// they do it does not know.
//
// For a file it asks the upload service of the sender's host for a place (upload.go, slot.go).
//
// Documents: XEP-0114, RFC 6120 (§4 streams, §8 stanzas), XEP-0356 (privilege),
// XEP-0045 and XEP-0106 (rooms), XEP-0030, XEP-0050, XEP-0092 and XEP-0199 (what
// it answers), XEP-0363 (files).
package component

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"posthorn/internal/message"
	"posthorn/internal/secret"
)

// Options say where the component connects, as what, and for whom it speaks.
type Options struct {
	Domain         string // the component's own, as the server knows it
	Secret         secret.Value
	Address        string   // host:port of the server's component listener
	Mode           Mode     // Auto where empty
	Hosts          []string // domains whose users send
	MaxStanza      int      // bytes on the wire, a wrapper included; MaxStanzaLimit at most
	ConfirmTimeout time.Duration
	RoomIdle       time.Duration // how long a sender keeps a seat in a room without speaking
	Version        string        // what XEP-0092 is answered with
	Commands       []Command     // what the accounts of Hosts can do from their own clients
	Log            *slog.Logger
	Metrics        prometheus.Registerer
	// Patience is how soon a server that does not answer is given up, all in all; zero:
	// 30 s. It must be longer than the second that a goodbye may take.
	Patience time.Duration
	// May is asked before each write, whatever is written, where several posthorns share
	// the domain and one has the stream; it must not block. False: nothing is written,
	// and the session ends. nil: always.
	May func() bool
	// Dial opens the connection; nil: TCP to Address.
	Dial func(ctx context.Context) (net.Conn, error)
	// Changed is called when State may have changed, and must not block; may be nil.
	Changed func()
}

// MaxStanzaLimit is what Prosody takes from a component unless told otherwise
// (component_stanza_size_limit); more would end the stream.
const MaxStanzaLimit = 512 << 10 // bytes

// queueLength bounds the messages that wait for the writer: about a tenth of
// a second of a server's work for one sender, who gets half of it. What comes
// beyond is better told to try later.
const queueLength = 2048

// A Component is our end of the stream, whether or not there is a
// connection now. Make it with New, and give it a goroutine with Run.
type Component struct {
	opts     Options  // immutable after New
	patience patience // likewise
	metrics  *metrics
	queue    *queue // Submit pushes, the session's writer pops
	rooms    *rooms
	desk     *desk
	greeter  greeter

	inquiries *inquiries
	uploads   uploads

	// Owned by Run.
	suspects  []*delivery          // were on a stream that ended because of one of them: they go again, one a barrier
	notDirect map[string]time.Time // by host: when the server last refused a message in its users' name
	lastEnd   struct {             // what logEnd said last
		text   string
		logged time.Time
	}

	// Guarded by mu.
	mu       sync.Mutex
	state    State
	due      time.Time           // when Run will have been heard of; zero: it does not run
	voices   map[string]voice    // by host: what this session found out
	underway map[string]struct{} // keys of the messages between Submit and their outcome
}

// New makes a Component that is not connected.
func New(opts Options) *Component {
	c := &Component{
		opts:      opts,
		patience:  newPatience(opts.Patience),
		queue:     newQueue(queueLength),
		notDirect: make(map[string]time.Time),
		voices:    make(map[string]voice),
		underway:  make(map[string]struct{}),
		inquiries: newInquiries(),
	}
	if c.opts.Mode == "" {
		c.opts.Mode = Auto
	}
	if c.opts.Dial == nil {
		c.opts.Dial = func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", opts.Address)
		}
	}
	c.rooms = &rooms{
		domain: opts.Domain, idle: opts.RoomIdle, patient: opts.ConfirmTimeout,
		resolve: c.resolve, work: make(chan struct{}, 1), seats: make(map[place]*seat),
	}
	c.desk = &desk{commands: opts.Commands, busy: make(map[message.JID]struct{})}
	_, _ = rand.Read(c.desk.key[:]) // never fails: crypto/rand ends the program instead
	c.greeter.hinted = make(map[message.JID]time.Time)
	c.metrics = newMetrics(opts.Metrics, c.queue, c.rooms, c.muteWhileUp)
	return c
}

// A State is what the stream is like.
type State int

const (
	// Down: no connection, since the last attempt to get one failed or none is made.
	Down State = iota
	// Refused: the server answered and said no: wrong secret, unknown
	// component, or another connection holds the domain.
	Refused
	// Resuming: the connection was lost a moment ago; the first attempt to get
	// it back is under way, so messages may wait for it.
	Resuming
	// Up: messages flow.
	Up
)

// String gives the words of /healthz.
func (s State) String() string {
	switch s {
	case Up:
		return "up"
	case Refused:
		return "refused"
	}
	return "down"
}

// State tells what the stream is like now.
func (c *Component) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Ready reports whether a message could be sent now for at least one host.
func (c *Component) Ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == Up && slices.ContainsFunc(c.opts.Hosts, func(host string) bool {
		return c.voices[host].speaks()
	})
}

func (c *Component) setState(s State) {
	c.mu.Lock()
	c.state = s
	c.mu.Unlock()
	c.metrics.state(s)
	if c.opts.Changed != nil {
		c.opts.Changed()
	}
}
