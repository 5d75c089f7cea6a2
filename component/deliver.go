package component

import (
	"context"
	"sync/atomic"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// A delivery is one message between Deliver and its outcome.
type delivery struct {
	message  *message.Message
	wireID   string       // the id that errors come back with; set by the writer
	occupant message.JID  // who says it in a room; set by the writer, before it is written
	joins    int          // how often the room said that it had no seat; owned by rooms
	wrapped  bool         // in a privilege, whose errors come to us and not to the sender; set by the writer
	tells    bool         // the server would tell of a failure; set by the writer
	bounced  bool         // has its outcome, an error; owned by the session's reader, and by Run after it
	suspect  bool         // was on a stream that content ended; owned by Run and the writer, never both at once
	claimed  atomic.Bool  // by the writer, who then owes an outcome, or by Deliver, who gave up before it was written
	next     *delivery    // in its sender's line; owned by the queue
	outcome  chan outcome // capacity 1, so that nobody waits to tell; written once, by resolve
}

// An outcome is what became of a message.
type outcome struct {
	status message.Status
	err    *fault.Error
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

// key is what no two messages in flight may share: errors name no more.
func (d *delivery) key() string {
	return string(d.message.From) + "\x00" + string(d.message.To) + "\x00" + d.message.ID
}

// Deliver hands m to the server and waits for what becomes of it, no longer
// than the confirm timeout. m must have passed Validate and is not changed
// afterwards by anybody.
//
// The error is a *fault.Error: Unavailable and TooLarge mean that m was not
// sent, Unconfirmed that it was written and the answer did not come, Conflict
// that a message with the same sender, recipient and id is under way, and the
// kinds of a bounce that the server refused it.
func (c *Component) Deliver(ctx context.Context, m *message.Message) (message.Status, error) {
	d := &delivery{message: m, outcome: make(chan outcome, 1)}
	o := c.deliver(ctx, d)
	c.metrics.delivered(o)
	if o.err != nil {
		return "", o.err
	}
	return o.status, nil
}

func (c *Component) deliver(ctx context.Context, d *delivery) outcome {
	if err := c.admit(d); err != nil {
		return outcome{err: err}
	}
	if !c.queue.push(d) {
		c.release(d)
		return outcome{err: fault.New(fault.Unavailable, "too many messages are waiting for the XMPP server: try again")}
	}
	timeout := time.NewTimer(c.opts.ConfirmTimeout)
	defer timeout.Stop()
	select {
	case o := <-d.outcome:
		return o
	case <-timeout.C:
	case <-ctx.Done():
	}
	return c.giveUp(d)
}

// giveUp tells the truth about a message that nobody waits for any longer.
func (c *Component) giveUp(d *delivery) outcome {
	if d.claim() {
		c.release(d)
		return outcome{err: fault.New(fault.Unavailable, "the XMPP server did not take the message in time: it was not sent")}
	}
	select {
	case o := <-d.outcome:
		return o
	default:
		return outcome{err: fault.New(fault.Unconfirmed, "the XMPP server did not confirm the message in time: it may or may not have been delivered")}
	}
}

// admit checks whether d can be sent as things stand, and takes its key.
func (c *Component) admit(d *delivery) *fault.Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != Up && c.state != Resuming {
		return unavailable(nil)
	}
	if c.state == Up && !d.toRoom() && !c.voices[d.message.From.Domain()].speaks() {
		return mute(d.message.From)
	}
	if _, taken := c.underway[d.key()]; taken {
		return fault.New(fault.Conflict, "a message with the id %s to %s is under way: wait for its answer", oneLine(d.message.ID), d.message.To)
	}
	c.underway[d.key()] = struct{}{}
	return nil
}

// resolve tells d's outcome. It is called once for each claimed delivery.
func (c *Component) resolve(d *delivery, o outcome) {
	c.release(d)
	d.outcome <- o
}

func (c *Component) release(d *delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.underway, d.key())
}

// unavailable is the answer while there is no stream; err may be nil.
func unavailable(err error) *fault.Error {
	return fault.Wrap(err, fault.Unavailable, "there is no connection to the XMPP server now: try again")
}

// mute is the answer for a host that the component may not speak for.
func mute(sender message.JID) *fault.Error {
	return fault.New(fault.Unavailable, "the XMPP server does not let posthorn speak for %s: its administrator finds what to change with: posthorn check", sender.Domain())
}
