package component

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/stream"
)

// Rooms (XEP-0045). A server does not let a component sit down in a room as a
// user, so each sender gets an address of the component's own
// (me\40example.com@post.example.com, XEP-0106), which takes a seat.
//
//  1. A message is sent first. With a seat, it is reflected, which confirms it.
//  2. Without one the room says not-acceptable. Then the sender joins, and the
//     message is sent again. So no room is created by accident (joining one
//     that does not exist would create it), and a seat that was lost, to a
//     kick or a restart on either side, heals itself.
//  3. A seat in which nobody speaks for a while is left.
const (
	// occupantResource is the same for ever: a seat that outlived a connection
	// of ours is found again by it.
	occupantResource = "posthorn"
	// maxSeats bounds what is known of rooms, half a kilobyte each, and how much
	// the rooms can send us. The seat that was silent longest makes place.
	maxSeats = 4096
	// maxHeld bounds the messages that wait for a seat.
	maxHeld = 1024
	// maxJoins is how often one message may find its seat gone.
	maxJoins = 2
)

const (
	nsRoom     = "http://jabber.org/protocol/muc"
	nsRoomUser = "http://jabber.org/protocol/muc#user"
)

// A place is one sender in one room.
type place struct {
	occupant message.JID // full: the component's own address for the sender
	room     message.JID // bare
}

// A seat is what is known of a place. It is made by the first message, before
// it is known whether the room has it.
type seat struct {
	place
	nick    string      // under which the room has it; empty: not known
	wanted  string      // the nickname that was asked for, without a suffix
	asked   string      // the nickname of the join under way; empty: none is
	tries   int         // nicknames that were taken
	since   time.Time   // when the join under way began
	waiting []*delivery // for that join, in order
	used    time.Time   // when a message was last written or came to wait
}

// rooms is what is known of all seats. It outlives sessions, as seats do.
type rooms struct {
	domain  string
	idle    time.Duration
	patient time.Duration            // how long a join may take
	resolve func(*delivery, outcome) // of the Component, whose mu may be taken within ours
	work    chan struct{}            // there is something in out or again; capacity 1, a mark

	// Guarded by mu.
	mu    sync.Mutex
	seats map[place]*seat
	held  int         // deliveries in all waiting and in again
	again []*delivery // have their seat now, or a new stream to try it on
	out   []byte      // presence to write
}

// occupantOf gives the address that speaks for sender in rooms.
func (r *rooms) occupantOf(sender message.JID) message.JID {
	return message.JID(sender.Escaped() + "@" + r.domain + "/" + occupantResource)
}

// seat finds d's seat, or holds d until there is one.
func (r *rooms) seat(d *delivery) (held bool, err *fault.Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.find(place{r.occupantOf(d.message.From), d.message.To})
	if err != nil {
		return false, err
	}
	s.used = time.Now()
	d.occupant = s.occupant
	wanted := d.message.Nickname()
	if s.asked == "" && (s.nick == "" || s.wanted == wanted) {
		s.wanted = wanted
		return false, nil
	}
	return true, r.hold(s, d)
}

// find gives the seat of a place, a new one where there is none. The caller
// holds mu.
func (r *rooms) find(p place) (*seat, *fault.Error) {
	if s := r.seats[p]; s != nil {
		return s, nil
	}
	if len(r.seats) >= maxSeats && !r.makePlace() {
		return nil, fault.New(fault.Unavailable, "too many rooms are being joined: try again").MayPass()
	}
	s := &seat{place: p}
	r.seats[p] = s
	return s, nil
}

// makePlace leaves the seat that was silent longest. The caller holds mu.
func (r *rooms) makePlace() bool {
	var oldest *seat
	for _, s := range r.seats {
		if s.asked == "" && (oldest == nil || s.used.Before(oldest.used)) {
			oldest = s
		}
	}
	if oldest == nil {
		return false
	}
	r.leave(oldest)
	return true
}

// hold lets d wait for s, for which the room is asked unless it has been. d is
// not written then, so whoever waits for it may give up, and the writer has to
// claim it again. The caller holds mu.
func (r *rooms) hold(s *seat, d *delivery) *fault.Error {
	if r.held >= maxHeld {
		return fault.New(fault.Unavailable, "too many messages are waiting for rooms: try again").MayPass()
	}
	r.held++
	s.waiting = append(s.waiting, d)
	d.unclaim()
	if s.asked == "" {
		s.wanted, s.tries, s.since = d.message.Nickname(), 0, time.Now()
		r.ask(s, s.wanted)
	}
	return nil
}

// ask asks the room for a seat, or for another nickname (XEP-0045 §7.2, §7.6),
// as the message that waits first would have it. The caller holds mu.
func (r *rooms) ask(s *seat, nick string) {
	s.asked = nick
	r.out = appendPresence(r.out, s, nick, "")
	r.out = append(r.out, "<x xmlns='"+nsRoom+"'><history maxstanzas='0'/>"...)
	r.out = appendOptionalText(r.out, "password", s.waiting[0].message.Password)
	r.out = append(r.out, "</x></presence>"...)
	notify(r.work)
}

// leave gives up a seat, and what is known of it (XEP-0045 §7.14). The caller
// holds mu.
func (r *rooms) leave(s *seat) {
	nick := s.nick
	if nick == "" {
		nick = s.wanted // most likely, if the room has it at all
	}
	r.out = append(appendPresence(r.out, s, nick, "unavailable"), "</presence>"...)
	delete(r.seats, s.place)
	notify(r.work)
}

func appendPresence(dst []byte, s *seat, nick, kind string) []byte {
	dst = append(dst, "<presence"...)
	dst = appendOptionalAttr(dst, "type", kind)
	dst = appendAttr(dst, "from", string(s.occupant))
	dst = appendAttr(dst, "to", string(s.room)+"/"+nick)
	return append(dst, '>')
}

// refused takes the room's error for a message.
func (r *rooms) refused(d *delivery, e *stream.Element) {
	if err := r.tryAgain(d, e); err != nil {
		r.resolve(d, outcome{err: err})
	}
}

// tryAgain holds d where all it lacks is a seat, and gives an error otherwise.
func (r *rooms) tryAgain(d *delivery, e *stream.Element) *fault.Error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, full := r.find(place{d.occupant, d.message.To})
	switch condition := conditionOf(e); {
	case full != nil:
		return full
	case condition == "not-acceptable" && d.joins < maxJoins:
		// XEP-0045 §7.4: only occupants may speak.
		if d.joins++; s.asked == "" {
			s.nick = ""
		}
		return r.hold(s, d)
	case condition == "not-acceptable":
		return fault.New(fault.Unavailable, "the room takes the seat of %s away again: try again", d.occupant.Bare()).MayPass()
	case condition == "forbidden":
		return fault.New(fault.Forbidden, "the room lets %s not speak: a moderator has to give it voice", d.occupant.Bare())
	case s.asked == "" && s.nick == "":
		delete(r.seats, s.place) // there is no such room, or no way to it
	}
	return bounceOf(e, d.message.To)
}

// presence takes what a room says about our own seats. Other occupants'
// presence is not looked at, nor that a seat is lost: the next message is told.
func (r *rooms) presence(e *stream.Element) {
	from := message.JID(e.Attr("from"))
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seats[place{message.JID(e.Attr("to")), from.Bare()}]
	if s == nil {
		return
	}
	switch kind := e.Attr("type"); {
	case kind == "" && hasStatus(e, "110"):
		r.seated(s, from.Resource(), hasStatus(e, "201"))
	case kind == "error" && s.asked != "":
		r.notSeated(s, e)
	}
}

// seated: the room has our seat under nick (XEP-0045 §7.2.2, status 110). One
// that we created by coming, because it ended since the message found it, is
// left at once (§10.1.1, status 201).
func (r *rooms) seated(s *seat, nick string, created bool) {
	s.nick, s.asked = nick, ""
	if created {
		r.leave(s)
		r.giveUp(s, fault.New(fault.Undeliverable, "there is no room %s", s.room))
		return
	}
	r.release(s)
}

// release lets those that waited for s be sent. The caller holds mu.
func (r *rooms) release(s *seat) {
	s.asked = ""
	if len(s.waiting) == 0 {
		return
	}
	r.again = append(r.again, s.waiting...)
	s.waiting = nil
	notify(r.work)
}

// notSeated takes the room's answer to a join or a change of nickname
// (XEP-0045 §7.2.5 to §7.2.9, §7.6).
func (r *rooms) notSeated(s *seat, e *stream.Element) {
	condition := conditionOf(e)
	switch {
	case condition == "conflict":
		s.tries++
		r.ask(s, suffixed(s.wanted, s.tries))
	case s.nick != "": // then under the nickname that it has
		r.release(s)
	default:
		s.asked = ""
		delete(r.seats, s.place)
		r.giveUp(s, joinFault(s.place, condition, e))
	}
}

// suffixed gives another nickname when the first n are taken.
func suffixed(nick string, n int) string {
	if n > 2 {
		return nick + "_" + strings.ToLower(rand.Text()[:6])
	}
	return fmt.Sprintf("%s_%d", nick, n+1)
}

// joinFault says why a room gave no seat, and who can change that.
func joinFault(p place, condition string, e *stream.Element) *fault.Error {
	who := p.occupant.Bare()
	switch condition {
	case "registration-required": // XEP-0045 §7.2.7
		return fault.New(fault.Forbidden, "the room is for members only: its owner has to add %s as a member", who)
	case "forbidden": // §7.2.8
		return fault.New(fault.Forbidden, "the room has banned %s, or all of its domain: its owner can lift that", who)
	case "not-authorized": // §7.2.6
		return fault.New(fault.Forbidden, "the room wants a password, in the field password")
	case "not-allowed": // §7.2.1: the message found the room, and it has ended since
		return fault.New(fault.Undeliverable, "there is no room %s", p.room)
	}
	return bounceOf(e, p.room)
}

// giveUp refuses all that waited for s. The caller holds mu.
func (r *rooms) giveUp(s *seat, err *fault.Error) {
	r.held -= len(s.waiting)
	for _, d := range s.waiting {
		r.refuse(d, err)
	}
	s.waiting = nil
}

// refuse tells that d was not sent, unless it was, on a stream that ended.
func (r *rooms) refuse(d *delivery, err *fault.Error) {
	switch {
	case d.suspect:
		r.resolve(d, outcome{err: unconfirmed(err)})
	case d.claim():
		r.resolve(d, outcome{err: err})
	}
}

// pop takes a delivery that has its seat now, or nil.
func (r *rooms) pop() *delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.again) == 0 {
		return nil
	}
	d := r.again[0]
	r.again = r.again[1:]
	r.held--
	return d
}

// appendPresences takes what is to be written.
func (r *rooms) appendPresences(dst []byte) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	dst = append(dst, r.out...)
	if r.out = r.out[:0]; cap(r.out) > batchBytes {
		r.out = nil
	}
	return dst
}

// reconnected is for a new stream: joins under way were lost, and what waited
// for them is tried with the seat as it may be.
func (r *rooms) reconnected() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out = r.out[:0]
	for _, s := range r.seats {
		r.release(s)
	}
}

// refuseAll is for the time when there is no stream to wait for.
func (r *rooms) refuseAll(err *fault.Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.seats {
		r.release(s)
	}
	for _, d := range r.again {
		r.refuse(d, err)
	}
	r.again, r.held = nil, 0
}

// forget is for when another posthorn may have the seats; nobody waits for one.
func (r *rooms) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.seats)
	r.out = nil
}

// handBack refuses those that wait for a seat and were kept before.
func (r *rooms) handBack(err *fault.Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	refuse := func(d *delivery) bool {
		if d.kept() {
			r.held--
			r.refuse(d, err)
		}
		return d.kept()
	}
	for _, s := range r.seats {
		s.waiting = slices.DeleteFunc(s.waiting, refuse)
	}
	r.again = slices.DeleteFunc(r.again, refuse)
}

// sweep ends joins that take too long, and leaves seats in which nobody spoke.
func (r *rooms) sweep(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.seats {
		switch {
		case s.asked != "" && now.Sub(s.since) > r.patient:
			s.asked = ""
			r.giveUp(s, fault.New(fault.Unavailable, "the room %s did not answer in time: the message was not sent", s.room).MayPass())
		case s.asked == "" && now.Sub(s.used) > r.idle:
			r.leave(s)
		}
	}
}

// leaveAll gives up every seat, for good.
func (r *rooms) leaveAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.seats {
		r.release(s)
		r.leave(s)
	}
}

// speaksFor reports whether a reflection is of d, which the room has under the
// nickname nick. Where ours is not known, because the seat is older than this
// process, the text has to be the same.
func (r *rooms) speaksFor(d *delivery, nick, body string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seats[place{d.occupant, d.message.To}]
	if s != nil && s.nick != "" {
		return s.nick == nick
	}
	same := body == d.message.Body
	if s != nil && same && strings.HasPrefix(nick, s.wanted) {
		s.nick = nick
	}
	return same
}

// size is how many seats there are.
func (r *rooms) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seats)
}

// hasStatus reports whether a room's presence has that status code (XEP-0045
// §15.6).
func hasStatus(presence *stream.Element, code string) bool {
	x := presence.Child(nsRoomUser, "x")
	if x == nil {
		return false
	}
	for _, status := range x.Children {
		if status.Name.Space == nsRoomUser && status.Name.Local == "status" && status.Attr("code") == code {
			return true
		}
	}
	return false
}
