package component

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/stream"
)

// A turn is whether the stream is ours. It watches over what is done without it.
type turn struct {
	t *testing.T

	mu   sync.Mutex
	left int // answers until it is over
	over bool
	open int // connections
}

func newTurn(t *testing.T, left int) *turn { return &turn{t: t, left: left} }

// forever is more often than anybody asks.
const forever = 1_000_000

func (u *turn) may() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.left--; u.left < 0 {
		u.over = true
	}
	return !u.over
}

func (u *turn) set(over bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.over = over
}

func (u *turn) isOver() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.over
}

func (u *turn) connections() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.open
}

func (u *turn) options(o *Options) {
	dial := o.Dial
	o.May = u.may
	o.Dial = func(ctx context.Context) (net.Conn, error) {
		u.opened(1)
		conn, err := dial(ctx)
		return &witness{Conn: conn, turn: u}, err
	}
}

func (u *turn) opened(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.open += n; u.over && n > 0 {
		u.t.Error("it has connected without its turn")
	}
}

type witness struct {
	net.Conn
	turn  *turn
	close sync.Once
}

func (w *witness) Write(p []byte) (int, error) {
	if w.turn.isOver() {
		w.turn.t.Errorf("it has written without its turn: %s", p)
	}
	return w.Conn.Write(p)
}

func (w *witness) Close() error {
	w.close.Do(func() { w.turn.opened(-1) })
	return w.Conn.Close()
}

// TestMayNot: whichever write is the first that is not allowed, nothing of it is
// written, the connection is closed, and what was not written is said not to be.
func TestMayNot(t *testing.T) {
	for left, all := 0, false; !all && !t.Failed(); left++ {
		t.Run(fmt.Sprint(left), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { all = mayNot(t, left) })
		})
	}
}

// mayNot lives through all that there is to write, and reports whether it was allowed.
func mayNot(t *testing.T, left int) (all bool) {
	u, room := newTurn(t, left), &muc{}
	s := room.server()
	var current *peer
	s.greet = func(_ int, p *peer) { current = p }
	s.onInquiry = func(int, *peer, *stream.Element) {}
	inRoom := s.onMessage
	s.onMessage = func(n int, p *peer, e *stream.Element) bool {
		if e.Attr("type") == "groupchat" {
			return inRoom(n, p, e)
		}
		if room.note("message %s", e.Attr("id")); e.Attr("type") == "normal" {
			p.streamError("policy-violation")
		}
		return true
	}
	opts := s.options(t)
	u.options(&opts)
	c := New(opts)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	time.Sleep(2 * time.Second)

	poison := text("user@example.com", "poison")
	poison.Type = message.Normal
	outcomes := make(map[string]error)
	for _, m := range []*message.Message{text("user@example.com", "text"), toOps("room"), poison} {
		_, outcomes[m.ID] = c.Deliver(t.Context(), m)
		time.Sleep(time.Second)
	}
	if synctest.Wait(); !u.isOver() {
		current.say(`<iq type='get' from='a@b/c' to='post.example.com' id='1'><ping xmlns='urn:xmpp:ping'/></iq>`)
	}
	_, _ = c.UploadLimit(t.Context(), "me@example.com")
	time.Sleep(10 * time.Second) // a keep-alive
	if u.isOver() && (c.State() != Down || u.connections() > 0) {
		t.Errorf("the stream is %v; %d connections", c.State(), u.connections())
	}
	cancel()
	running.Wait()
	synctest.Wait()
	if n := u.connections(); n > 0 {
		t.Errorf("%d connections are open", n)
	}
	written := map[string]int{"room": -1} // which the room refuses first
	for _, heard := range room.heard {
		written[strings.TrimPrefix(heard, "message ")]++
	}
	for id, err := range outcomes {
		if err == nil && written[id] <= 0 || err != nil && fault.Of(err).Kind == fault.Unavailable && written[id] > 0 {
			t.Errorf("%s was written %d times: %v", id, written[id], err)
		}
	}
	nothingUnderway(t, c)
	return !u.isOver()
}

// TestPieces: a long write stops when the turn ends in its midst.
func TestPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		u := newTurn(t, 2)
		read := make(chan int)
		go func() {
			all, _ := io.ReadAll(theirs)
			read <- len(all)
		}()
		f := &fence{&witness{Conn: ours, turn: u}, u.may}
		n, err := f.Write(make([]byte, 10*pieceBytes))
		if n != 2*pieceBytes || err != errMayNot {
			t.Errorf("wrote %d bytes, %v", n, err)
		}
		if n := <-read; n != 2*pieceBytes {
			t.Errorf("%d bytes have arrived", n)
		}
	})
}

// TestTurnComesBack: a component that might not goes on when it may. That another has
// taken over meanwhile was no refusal.
func TestTurnComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newTurn(t, forever)
		var current *peer
		c := (&server{greet: func(_ int, p *peer) { current = p }}).start(t, u.options)
		up(t, c)
		synctest.Wait()
		u.set(true)
		current.streamError("conflict")
		for range 60 {
			time.Sleep(time.Second)
			if !c.Alive() || c.State() != Down {
				t.Fatalf("alive: %v, %v", c.Alive(), c.State())
			}
		}
		u.set(false)
		time.Sleep(longestWait)
		up(t, c)
		wantDelivered(t, c, "a1")
	})
}

// TestTurnEndsAmong: of what is written the outcome is not known, and of what comes
// then it is.
func TestTurnEndsAmong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newTurn(t, forever)
		c := (&server{onBarrier: func(_ int, p *peer, _ *stream.Element) bool { return p.barriers > 1 }}).start(t, u.options)
		up(t, c)
		var wait sync.WaitGroup
		deliver := func(m *message.Message, want fault.Kind) {
			wait.Go(func() {
				_, err := c.Deliver(t.Context(), m)
				if wantKind(t, err, want); !fault.Of(err).Passing {
					t.Errorf("%s: %v, for good", m.ID, err)
				}
			})
			synctest.Wait()
		}
		deliver(text("user@example.com", "written"), fault.Unconfirmed)
		u.set(true)
		kept := text("user@example.com", "kept")
		kept.Kept = true
		deliver(kept, fault.Unavailable)
		deliver(text("user@example.com", "new"), fault.Unavailable)
		deliver(toOps("to a room"), fault.Unavailable)
		wait.Wait()
	})
}

// TestEndsSoon: Run does not outlive its context by much, however the server is.
func TestEndsSoon(t *testing.T) {
	for _, test := range []struct {
		server string
		over   bool // not even a goodbye may be written
		within time.Duration
	}{
		{"silent", false, lastWords},
		{"silent", true, 0},
		{"deaf", false, 2 * lastWords},
		{"deaf", true, lastWords},
		{"another's", false, 0},
		{"another's", true, 0},
	} {
		t.Run(fmt.Sprint(test.server, ", over: ", test.over), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := newTurn(t, forever)
				free := make(chan struct{})
				s := &server{onBarrier: func(_ int, p *peer, _ *stream.Element) bool {
					switch {
					case p.barriers == 1:
						return false
					case test.server == "silent":
						p.hearAll()
					case test.server == "deaf":
						<-free
					default:
						p.streamError("conflict")
					}
					return true
				}}
				opts := s.options(t)
				u.options(&opts)
				c := New(opts)
				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				running.Go(func() { c.Run(ctx) })
				up(t, c)
				for _, id := range []string{"read", "stuck"} {
					_, _ = c.Submit(text("user@example.com", id), func(message.Status, error) {})
					synctest.Wait()
				}
				time.Sleep(lastWords) // after which a server that has let another in is waited out
				u.set(test.over)
				began := time.Now()
				cancel()
				running.Wait()
				if took := time.Since(began); took > test.within {
					t.Errorf("it took %v", took)
				}
				close(free)
				nothingUnderway(t, c)
			})
		})
	}
}
