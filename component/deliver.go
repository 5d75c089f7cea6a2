package component

import (
	"sync/atomic"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// A delivery is one message between Submit and its outcome.
type delivery struct {
	message  *message.Message
	told     func(outcome) // must not block; called once, by resolve
	wireID   string        // the id that errors come back with; set by the writer
	occupant message.JID   // who says it in a room; set by the writer, before it is written
	joins    int           // how often the room said that it had no seat; owned by rooms
	wrapped  bool          // in a privilege, whose errors come to us and not to the sender; set by the writer
	tells    bool          // the server would tell of a failure; set by the writer
	bounced  bool          // has its outcome, an error; owned by the session's reader, and by Run after it
	suspect  bool          // was on a stream that content ended; owned by Run and the writer, never both at once
	claimed  atomic.Bool   // by the writer, who then owes an outcome, or by who withdrew it before it was written
	next     *delivery     // in its sender's line; owned by the queue
}

// An outcome is what became of a message.
type outcome struct {
	status message.Status
	err    *fault.Error
}

// result is o in the form for callers of the package.
func (o outcome) result() (message.Status, error) {
	if o.err != nil {
		return "", o.err
	}
	return o.status, nil
}

// claim reports whether the caller is the one to decide about d.
func (d *delivery) claim() bool { return d.claimed.CompareAndSwap(false, true) }

// unclaim is for what is not on the stream after all: nothing of d has reached
// the recipient. A suspect stays the writer's, since that is not so sure of it.
func (d *delivery) unclaim() {
	if !d.suspect {
		d.claimed.Store(false)
	}
}

// toRoom reports whether d is for a room, which confirms by itself.
func (d *delivery) toRoom() bool { return d.message.Type == message.GroupChat }

// kept reports whether d was kept before. Such a message is for the stream that
// is up now: it goes back when that ends, since who keeps it keeps its order too.
func (d *delivery) kept() bool { return d.message.Kept }

// key is what no two messages in flight may share: errors name no more.
func (d *delivery) key() string {
	return string(d.message.From) + "\x00" + string(d.message.To) + "\x00" + d.message.ID
}

// Submit puts m in line for the stream and returns at once. m must have passed
// Validate and is not changed afterwards by anybody. Messages of one sender are
// written in the order in which they are submitted, those that were kept apart
// from others.
//
// told is called once, by a goroutine that must not be held up, unless withdraw
// reports true: then m was not written and never will be. withdraw may be called
// until told was.
//
// What is told is a status, or a *fault.Error: Unavailable and TooLarge mean that
// m was not sent; Unconfirmed that it was written and may have been delivered,
// Passing where its stream has ended; the kinds of a bounce that the server
// refused it, Passing where that may be otherwise later. The error of Submit
// itself is of the same kinds, or Conflict: a message with the same sender,
// recipient and id is under way.
func (c *Component) Submit(m *message.Message, told func(message.Status, error)) (withdraw func() bool, err error) {
	d := &delivery{message: m, told: func(o outcome) {
		c.metrics.delivered(o)
		told(o.result())
	}}
	if err := c.admit(d); err != nil {
		c.metrics.delivered(outcome{err: err})
		return nil, err
	}
	return func() bool { return c.withdraw(d) }, nil
}

func (c *Component) withdraw(d *delivery) bool {
	if !d.claim() {
		return false
	}
	c.release(d)
	c.metrics.withdrawn()
	return true
}

// admit puts d in line and takes its key, if it can be sent as things stand. That is
// one step, since whoever changes the state then looks through the line.
func (c *Component) admit(d *delivery) *fault.Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != Up && (c.state != Resuming || d.kept()) {
		return unavailable(nil)
	}
	if c.state == Up && !d.toRoom() && !c.voices[d.message.From.Domain()].speaks() {
		return mute(d.message.From)
	}
	if _, taken := c.underway[d.key()]; taken {
		return fault.New(fault.Conflict, "a message with the id %s to %s is under way: wait for its answer", oneLine(d.message.ID), d.message.To)
	}
	if !c.queue.push(d) {
		return fault.New(fault.Unavailable, "too many messages are waiting for the XMPP server: try again").MayPass()
	}
	c.underway[d.key()] = struct{}{}
	return nil
}

// resolve tells d's outcome. It is called once for each claimed delivery.
func (c *Component) resolve(d *delivery, o outcome) {
	c.release(d)
	d.told(o)
}

func (c *Component) release(d *delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.underway, d.key())
}

// Fits gives an error, of the kind TooLarge, for a message that may turn out too
// large for the stream, whichever way it will speak by then.
func (c *Component) Fits(m *message.Message) error {
	d := &delivery{message: m, wireID: "00000000000000000000000000"}
	v := voice{namespace: "urn:xmpp:privilege:2"}
	if c.opts.Mode == Direct {
		v = voice{direct: true}
	}
	if d.toRoom() {
		d.occupant = c.rooms.occupantOf(m.From)
	}
	return c.tooLarge(len(d.append(nil, c.opts.Domain, v, m.Accepted)))
}

// tooLarge is nil for a size that may be written.
func (c *Component) tooLarge(size int) error {
	if size <= c.opts.MaxStanza {
		return nil
	}
	return fault.New(fault.TooLarge, "the message takes %d bytes on the stream, and the limit (component.max_stanza) is %d: send less", size, c.opts.MaxStanza)
}

// unavailable is the answer while there is no stream; err may be nil.
func unavailable(err error) *fault.Error {
	return fault.Wrap(err, fault.Unavailable, "there is no connection to the XMPP server now: try again").MayPass()
}

// mute is the answer for a host that the component may not speak for.
func mute(sender message.JID) *fault.Error {
	return fault.New(fault.Unavailable, "the XMPP server does not let posthorn speak for %s: its administrator finds what to change with: posthorn check", sender.Domain())
}
