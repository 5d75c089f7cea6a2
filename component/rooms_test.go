package component

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/stream"
)

const (
	opsRoom = "ops@rooms.example.com"
	meThere = `me\40example.com@post.example.com/posthorn`
)

func toOps(id string) *message.Message {
	m := text(opsRoom, id)
	m.Type = message.GroupChat
	return m
}

// A muc is a scripted room. What it is told, and what it answers unless a
// function says otherwise, is as on Prosody.
type muc struct {
	onMessage  func(p *peer, e *stream.Element) bool // true: handled
	onPresence func(p *peer, e *stream.Element) bool

	mu    sync.Mutex
	nicks map[string]string // by occupant
	heard []string          // what it was sent, in short
}

func (m *muc) server() *server {
	m.nicks = make(map[string]string)
	return &server{onMessage: m.message, onPresence: m.presence}
}

func (m *muc) note(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heard = append(m.heard, fmt.Sprintf(format, args...))
}

func (m *muc) message(_ int, p *peer, e *stream.Element) bool {
	m.note("message %s", e.Attr("id"))
	m.mu.Lock()
	nick := m.nicks[e.Attr("from")]
	m.mu.Unlock()
	switch {
	case m.onMessage != nil && m.onMessage(p, e):
	case nick == "":
		m.refuse(p, e, "not-acceptable")
	default:
		m.reflect(p, e, nick, e.Attr("id"))
	}
	return true
}

func (m *muc) reflect(p *peer, e *stream.Element, nick, id string) {
	p.say(`<message from='%s/%s' to='%s' id='%s' type='groupchat'><body>%s</body><origin-id xmlns='urn:xmpp:sid:0' id='%s'/></message>`,
		opsRoom, nick, e.Attr("from"), id, body(e), e.Attr("id"))
}

func (m *muc) refuse(p *peer, e *stream.Element, condition string) {
	p.say(`<%s from='%s' to='%s' id='%s' type='error'><error type='cancel'><%s xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></%s>`,
		e.Name.Local, e.Attr("to"), e.Attr("from"), e.Attr("id"), condition, e.Name.Local)
}

func (m *muc) presence(_ int, p *peer, e *stream.Element) {
	_, nick, _ := strings.Cut(e.Attr("to"), "/")
	password := ""
	if x := e.Child(nsRoom, "x"); x != nil && x.Child(nsRoom, "password") != nil {
		password = " with " + x.Child(nsRoom, "password").Text
	}
	m.note("presence %s%s%s", e.Attr("type"), nick, password)
	switch {
	case m.onPresence != nil && m.onPresence(p, e):
	case e.Attr("type") == "unavailable":
		delete(m.nicks, e.Attr("from"))
	default:
		m.seat(p, e, nick, "")
	}
}

func (m *muc) seat(p *peer, e *stream.Element, nick, status string) {
	m.mu.Lock()
	m.nicks[e.Attr("from")] = nick
	m.mu.Unlock()
	p.say(`<presence from='%s/%s' to='%s'><x xmlns='http://jabber.org/protocol/muc#user'><item/><status code='110'/>%s</x></presence>`, opsRoom, nick, e.Attr("from"), status)
}

func (m *muc) was(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if diff := cmp.Diff(want, m.heard); diff != "" {
		t.Errorf("the room was sent something else: %s", diff)
	}
}

// TestRoom: the messages sent one after another, and what the room was sent.
func TestRoom(t *testing.T) {
	for _, test := range []struct {
		name   string
		room   *muc
		change func(*message.Message)
		want   []any // outcome of each message: a status or a kind
		heard  []string
	}{
		{"joins when told that it has no seat", &muc{}, nil, []any{message.Delivered, message.Delivered},
			[]string{"message 0", "presence me", "message 0", "message 1"}},
		{"with a password", &muc{}, func(m *message.Message) { m.Password = "<&>" }, []any{message.Delivered},
			[]string{"message 0", "presence me with <&>", "message 0"}},
		{"under another name", &muc{}, func(m *message.Message) {
			if m.ID != "1" {
				m.Nick = "Bot"
			}
		}, []any{message.Delivered, message.Delivered},
			[]string{"message 0", "presence Bot (me)", "message 0", "presence me", "message 1"}},
		{"the room gives the message its own id", &muc{onMessage: func(p *peer, e *stream.Element) bool {
			(&muc{}).reflect(p, e, "me", "another")
			return true
		}}, nil, []any{message.Delivered}, []string{"message 0"}},
		{"a seat older than this process", &muc{onMessage: func(p *peer, e *stream.Element) bool {
			(&muc{}).reflect(p, e, "me_2", e.Attr("id"))
			return true
		}}, nil, []any{message.Delivered, message.Delivered}, []string{"message 0", "message 1"}},
		{"somebody else says something with that id", &muc{onMessage: func(p *peer, e *stream.Element) bool {
			p.say(`<message from='%s/mallory' to='%s' id='%s' type='groupchat'><body>something else</body></message>`, opsRoom, e.Attr("from"), e.Attr("id"))
			return true
		}}, nil, []any{fault.Unconfirmed}, []string{"message 0"}},
		{"somebody else says the same", &muc{onMessage: func(p *peer, e *stream.Element) bool {
			if e.Attr("id") == "0" {
				return false
			}
			(&muc{}).reflect(p, e, "mallory", e.Attr("id"))
			return true
		}}, nil, []any{message.Delivered, fault.Unconfirmed}, []string{"message 0", "presence me", "message 0", "message 1"}},
		{"another room reflects", &muc{onMessage: func(p *peer, e *stream.Element) bool {
			p.say(`<message from='other@rooms.example.com/me' to='%s' id='%s' type='groupchat'><body>text 0</body></message>`, e.Attr("from"), e.Attr("id"))
			return true
		}}, nil, []any{fault.Unconfirmed}, []string{"message 0"}},
		{"not reflected", &muc{onMessage: func(p *peer, e *stream.Element) bool { return true }}, nil,
			[]any{fault.Unconfirmed}, []string{"message 0"}},
		{"no such room", &muc{onMessage: func(p *peer, e *stream.Element) bool { (&muc{}).refuse(p, e, "item-not-found"); return true }}, nil,
			[]any{fault.Undeliverable, fault.Undeliverable}, []string{"message 0", "message 1"}},
		{"no voice", &muc{onMessage: func(p *peer, e *stream.Element) bool { (&muc{}).refuse(p, e, "forbidden"); return true }}, nil,
			[]any{fault.Forbidden}, []string{"message 0"}},
		{"the seat is taken away again and again", &muc{onMessage: func(p *peer, e *stream.Element) bool { (&muc{}).refuse(p, e, "not-acceptable"); return true }}, nil,
			[]any{fault.Unavailable}, []string{"message 0", "presence me", "message 0", "presence me", "message 0"}},
		{"the join is not answered", &muc{onPresence: func(p *peer, e *stream.Element) bool { return true }}, nil,
			[]any{fault.Unavailable}, []string{"message 0", "presence me"}},
		{"banned", &muc{onPresence: func(p *peer, e *stream.Element) bool { (&muc{}).refuse(p, e, "forbidden"); return true }}, nil,
			[]any{fault.Forbidden}, []string{"message 0", "presence me"}},
		{"members only", &muc{onPresence: func(p *peer, e *stream.Element) bool { (&muc{}).refuse(p, e, "registration-required"); return true }}, nil,
			[]any{fault.Forbidden, fault.Forbidden}, []string{"message 0", "presence me", "message 1", "presence me"}},
		{"the room has ended before the join", &muc{onPresence: func(p *peer, e *stream.Element) bool {
			if e.Attr("type") == "" {
				(&muc{nicks: map[string]string{}}).seat(p, e, "me", `<status code='201'/>`)
			}
			return true
		}}, nil, []any{fault.Undeliverable}, []string{"message 0", "presence me", "presence unavailableme"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				room := test.room
				c := room.server().start(t)
				up(t, c)
				for i, want := range test.want {
					m := toOps(fmt.Sprint(i))
					if test.change != nil {
						test.change(m)
					}
					status, err := c.Deliver(t.Context(), m)
					if kind, refused := want.(fault.Kind); refused {
						wantKind(t, err, kind)
					} else if status != want || err != nil {
						t.Fatalf("message %d: %q, %v; want %v", i, status, err, want)
					}
				}
				room.was(t, test.heard...)
				time.Sleep(time.Minute) // nothing is sent again, and nothing is kept
				nothingUnderway(t, c)
				if c.rooms.held != 0 || len(c.rooms.again) != 0 {
					t.Errorf("%d are still held", c.rooms.held)
				}
				if kind := test.want[len(test.want)-1]; (kind == fault.Undeliverable || test.name == "banned") && c.rooms.size() != 0 {
					t.Errorf("%d seats are kept in a room that gave none", c.rooms.size())
				}
			})
		})
	}
}

// TestOthersInRoom: what other occupants do is not taken for an answer.
func TestOthersInRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := &muc{}
		room.onPresence = func(p *peer, e *stream.Element) bool {
			if e.Attr("type") != "" {
				return false
			}
			p.say(`<presence from='%s/mallory' to='%s'><x xmlns='http://jabber.org/protocol/muc#user'><item/></x></presence>`, opsRoom, e.Attr("from"))
			p.say(`<presence from='%s/mallory' to='%s'/>`, opsRoom, e.Attr("from"))
			room.refuse(p, e, "forbidden")
			return true
		}
		c := room.server().start(t)
		up(t, c)
		_, err := c.Deliver(t.Context(), toOps("0"))
		wantKind(t, err, fault.Forbidden)
	})
}

// TestStopInRooms: a posthorn that stops leaves its seats, and lets nobody wait
// for one.
func TestStopInRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := &muc{}
		room.onPresence = func(p *peer, e *stream.Element) bool { return strings.HasPrefix(e.Attr("to"), "slow@") }
		s := room.server()
		c := New(s.options(t))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.Run(ctx)
		}()
		up(t, c)
		if _, err := c.Deliver(t.Context(), toOps("0")); err != nil {
			t.Fatal(err)
		}
		waiting := make(chan error, 1)
		go func() {
			m := toOps("1")
			m.To = "slow@rooms.example.com"
			m.From = "other@example.com"
			_, err := c.Deliver(t.Context(), m)
			waiting <- err
		}()
		synctest.Wait()
		began := time.Now()
		cancel()
		<-done
		wantKind(t, <-waiting, fault.Unavailable)
		if took := time.Since(began); took > time.Second {
			t.Errorf("who waited for a seat was told after %v", took)
		}
		if n := len(room.nicks); n != 0 || c.rooms.size() != 0 {
			t.Errorf("%d seats are kept", n)
		}
	})
}

// TestNicknamesTaken: the room's conflict is answered with another name, until
// one is free.
func TestNicknamesTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		room := &muc{}
		room.onPresence = func(p *peer, e *stream.Element) bool {
			if asked++; asked < 5 {
				room.refuse(p, e, "conflict")
			}
			return asked < 5
		}
		c := room.server().start(t)
		up(t, c)
		if _, err := c.Deliver(t.Context(), toOps("0")); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(room.heard[:4], ","); got != "message 0,presence me,presence me_2,presence me_3" {
			t.Errorf("asked for %s", got)
		}
		if nick := room.nicks[meThere]; !strings.HasPrefix(nick, "me_") || len(nick) != len("me_")+6 {
			t.Errorf("sits there as %q", nick)
		}
	})
}

// TestNicknameRefused: a room that allows no other nickname hears the message
// under the one it has.
func TestNicknameRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := &muc{}
		room.onPresence = func(p *peer, e *stream.Element) bool {
			if strings.HasSuffix(e.Attr("to"), "/me") {
				return false
			}
			room.refuse(p, e, "not-allowed")
			return true
		}
		c := room.server().start(t)
		up(t, c)
		for i := range 3 {
			m := toOps(fmt.Sprint(i))
			if i > 0 {
				m.Nick = "Bot"
			}
			if _, err := c.Deliver(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		room.was(t, "message 0", "presence me", "message 0", "presence Bot (me)", "message 1", "message 2")
	})
}

// TestJoinInOrder: what comes while a join is under way waits for it, in order,
// and needs one join.
func TestJoinInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := &muc{}
		room.onPresence = func(p *peer, e *stream.Element) bool {
			if e.Attr("type") == "" { // the connection is read meanwhile
				time.AfterFunc(time.Second, func() { room.seat(p, e, "me", "") })
			}
			return true
		}
		c := room.server().start(t)
		up(t, c)
		var wait sync.WaitGroup
		for i := range 5 {
			wait.Go(func() {
				if _, err := c.Deliver(t.Context(), toOps(fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(100 * time.Millisecond)
		}
		wait.Wait()
		room.was(t, "message 0", "presence me", "message 0", "message 1", "message 2", "message 3", "message 4")
	})
}

// TestRoomOfAnotherServer: its reflection comes after the barrier.
func TestRoomOfAnotherServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := &muc{}
		room.onMessage = func(p *peer, e *stream.Element) bool {
			time.AfterFunc(3*time.Second, func() { room.reflect(p, e, "me", e.Attr("id")) })
			return true
		}
		c := room.server().start(t)
		up(t, c)
		if status, err := c.Deliver(t.Context(), toOps("0")); status != message.Delivered || err != nil {
			t.Fatalf("Deliver() = %q, %v", status, err)
		}
	})
}

// TestJoinCut: a message that waits for a seat when the stream ends was not
// said, and is, over the next one.
func TestJoinCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := &muc{}
		cut := false
		room.onPresence = func(p *peer, e *stream.Element) bool {
			if cut {
				return false
			}
			cut = true
			return p.conn.Close() == nil
		}
		c := room.server().start(t)
		up(t, c)
		if status, err := c.Deliver(t.Context(), toOps("0")); status != message.Delivered || err != nil {
			t.Fatalf("Deliver() = %q, %v", status, err)
		}
		room.was(t, "message 0", "presence me", "message 0", "presence me", "message 0")
	})
}

// TestReflectionCut: what a room had not reflected when the stream ended is
// unknown, and not said again.
func TestReflectionCut(t *testing.T) {
	for _, passed := range []bool{false, true} {
		t.Run(fmt.Sprint("barrier back ", passed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				room := &muc{}
				room.onMessage = func(p *peer, e *stream.Element) bool {
					if passed {
						time.AfterFunc(time.Second, func() { _ = p.conn.Close() })
						return true
					}
					return p.conn.Close() == nil
				}
				c := room.server().start(t)
				up(t, c)
				_, err := c.Deliver(t.Context(), toOps("0"))
				wantKind(t, err, fault.Unconfirmed)
				time.Sleep(time.Minute)
				room.was(t, "message 0")
				nothingUnderway(t, c)
			})
		})
	}
}

// TestIdleSeat: a seat is left when nobody speaks there, or posthorn stops.
func TestIdleSeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := &muc{}
		c := room.server().start(t)
		up(t, c)
		for range 2 {
			if _, err := c.Deliver(t.Context(), toOps("0")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(c.opts.RoomIdle - 2*time.Second)
		}
		room.was(t, "message 0", "presence me", "message 0", "message 0")
		time.Sleep(4 * time.Second)
		room.was(t, "message 0", "presence me", "message 0", "message 0", "presence unavailableme")
		if n := c.rooms.size(); n != 0 {
			t.Errorf("%d seats are left", n)
		}
	})
}

// TestManyRooms: what is known of rooms is bounded, and the seat that was silent
// longest is given up for another.
func TestManyRooms(t *testing.T) {
	r := &rooms{domain: "post.example.com", work: make(chan struct{}, 1), seats: make(map[place]*seat)}
	for i := range maxSeats + 10 {
		m := toOps("x")
		m.To = message.JID(fmt.Sprintf("room%d@rooms.example.com", i))
		if held, err := r.seat(&delivery{message: m}); held || err != nil {
			t.Fatalf("seat %d: %v, %v", i, held, err)
		}
	}
	if r.size() != maxSeats {
		t.Errorf("%d seats, want %d", r.size(), maxSeats)
	}
	if left := strings.Count(string(r.out), "type='unavailable'"); left != 10 || !strings.Contains(string(r.out), "to='room0@rooms.example.com/me'") {
		t.Errorf("%d seats were left: %s", left, r.out)
	}
}

// TestOccupantsAreUnique: no two senders have one address in rooms (XEP-0106).
func TestOccupantsAreUnique(t *testing.T) {
	r := &rooms{domain: "post.example.com"}
	seen := make(map[message.JID]string)
	for _, sender := range []string{"me@example.com", `me\40example.com@example.com`, `me\5c40example.com@example.com`, `a\b@example.com`, `a\5cb@example.com`, "a&b@example.com", `a\26b@example.com`} {
		occupant := r.occupantOf(message.JID(sender))
		if other, taken := seen[occupant]; taken {
			t.Errorf("%s and %s are both %s", sender, other, occupant)
		}
		if occupant.Domain() != "post.example.com" || strings.Count(string(occupant), "@") != 1 {
			t.Errorf("%s is %s", sender, occupant)
		}
		seen[occupant] = sender
	}
}

// TestRoomAfterTakeover: another posthorn goes on in the seat as it finds it, and so
// does the first one when it is its turn again.
func TestRoomAfterTakeover(t *testing.T) {
	joins, leaves := []string{"message x", "presence me", "message x"}, []string{"presence unavailableme"}
	for _, test := range []struct {
		name  string
		end   func(room *muc, u *turn) // of a turn
		heard []string                 // at the end of a turn, and in the next
	}{
		{"it has left", func(*muc, *turn) {}, append(leaves, joins...)},
		{"it was cut off", func(_ *muc, u *turn) { u.set(true) }, []string{"message x"}},
		{"it was cut off, and the room has noticed", func(room *muc, u *turn) {
			u.set(true)
			clear(room.nicks)
		}, joins},
		{"it was cut off, and has another name since", func(room *muc, u *turn) {
			u.set(true)
			room.nicks[meThere] += "_2"
		}, []string{"message x"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				room := &muc{}
				s := room.server()
				var both [2]*Component
				var turns [2]*turn
				for i := range both {
					opts := s.options(t)
					turns[i] = newTurn(t, forever)
					turns[i].options(&opts)
					both[i] = New(opts)
				}
				want := joins
				for n := range 5 {
					c, u := both[n%2], turns[n%2]
					u.set(false)
					stop := c.run(t)
					up(t, c)
					if status, err := c.Deliver(t.Context(), toOps("x")); status != message.Delivered {
						t.Errorf("%d: %q, %v", n, status, err)
					}
					room.was(t, want...)
					want = append(slices.Clip(want), test.heard...)
					test.end(room, u)
					stop()
				}
			})
		})
	}
}
