package component

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"posthorn/internal/fault"
)

// Run connects and keeps connecting until ctx ends. When it returns there is
// no connection, and every message that was submitted has its outcome. It may be
// called again then.
func (c *Component) Run(ctx context.Context) {
	defer c.rest()
	var wait backoff
	for ctx.Err() == nil {
		c.within(c.patience.handshake)
		err := c.runSession(ctx)
		if ctx.Err() != nil || errors.Is(err, errNotDirect) {
			continue // what was found out is remembered: the next session speaks otherwise
		}
		state, delay := wait.after(err)
		c.forgetRefusals(err)
		c.setState(state)
		c.logEnd(err, delay)
		c.handBack(unavailable(err))
		if state != Resuming {
			c.refuseWaiting(unavailable(err))
		}
		c.within(delay)
		sleep(ctx, delay)
	}
}

// rest leaves everything as it was before Run. Seats are forgotten: another posthorn
// may use them meanwhile, under other nicknames.
func (c *Component) rest() {
	c.setState(Down)
	c.refuseWaiting(unavailable(nil))
	c.rooms.forget()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.due = time.Time{}
}

// runSession lives through one connection and settles what was in flight on
// it. The error says why it ended; it is never nil.
func (c *Component) runSession(ctx context.Context) error {
	s, err := c.connect(ctx)
	if err != nil {
		return err
	}
	err = s.run(ctx)
	c.inquiries.end()
	c.uploads.forgetAll()
	var lost *lostError
	if errors.As(err, &lost) { // before the stream was up, only questions of our own were written
		written, unreflected := s.inflight.drain()
		lost.poisoned = len(written) > 0 && blamesContent(err)
		c.settle(written, err)
		for _, d := range unreflected {
			c.resolve(d, outcome{err: unconfirmed(err)})
		}
	}
	return err
}

// forgetRefusals is for a stream that was lost: the server may come back with
// another configuration, and hosts that are mute have nothing to lose by being
// asked again.
func (c *Component) forgetRefusals(err error) {
	if !errors.As(err, new(*lostError)) {
		return
	}
	for _, host := range c.opts.Hosts {
		if !c.voice(host).speaks() {
			delete(c.notDirect, host)
		}
	}
}

// settle decides about messages that were written and not confirmed when a
// stream ended with err.
func (c *Component) settle(written []*delivery, err error) {
	if !blamesContent(err) {
		for _, d := range written {
			c.resolve(d, outcome{err: unconfirmed(err)})
		}
		return
	}
	if len(written) == 1 && written[0].suspect {
		d := written[0]
		c.opts.Log.Error("a message ended the stream twice and is dropped",
			"jid", d.message.From, "to", d.message.To, "id", d.message.ID, "err", err)
		c.resolve(d, outcome{err: fault.Wrap(err, fault.Rejected, "the XMPP server ends the stream because of this message: change its content")})
		return
	}
	for _, d := range written {
		d.suspect = true
	}
	c.suspects = append(written, c.suspects...)
}

// unconfirmed is the answer for a message that was written on a stream that
// has ended.
func unconfirmed(err error) *fault.Error {
	return fault.Wrap(err, fault.Unconfirmed, "the connection to the XMPP server was lost before it confirmed the message, which may or may not have been delivered").MayPass()
}

// handBack is for the end of a stream: what was kept and waits for its turn is
// not for the next one.
func (c *Component) handBack(err *fault.Error) {
	c.rooms.handBack(err)
	for _, d := range c.queue.removeKept() {
		if d.claim() {
			c.resolve(d, outcome{err: err})
		}
	}
}

// refuseWaiting answers everybody who waits for a stream.
func (c *Component) refuseWaiting(err *fault.Error) {
	for _, d := range c.suspects {
		c.resolve(d, outcome{err: unconfirmed(err)})
	}
	c.suspects = nil
	c.rooms.refuseAll(err)
	for d := c.queue.pop(); d != nil; d = c.queue.pop() {
		if d.claim() {
			c.resolve(d, outcome{err: err})
		}
	}
}

// logEnd says once a minute why there is no stream, and what to do about it
// where a person has to.
func (c *Component) logEnd(err error, delay time.Duration) {
	c.metrics.reconnects.Inc()
	if err.Error() == c.lastEnd.text && time.Since(c.lastEnd.logged) < time.Minute {
		return
	}
	c.lastEnd.text, c.lastEnd.logged = err.Error(), time.Now()
	if hint := c.opts.Hint(err); hint != "" {
		c.opts.Log.Error("the XMPP server refuses the component", "err", err, "reason", hint, "addr", c.opts.Address)
		return
	}
	c.opts.Log.Warn("no stream to the XMPP server, will try again", "err", err, "addr", c.opts.Address, "took", delay)
}

// Waits between connections. A server on the same machine comes back within
// seconds, and a connection attempt costs it next to nothing.
const (
	shortestWait = 100 * time.Millisecond
	longestWait  = 5 * time.Second
	refusedWait  = 20 * time.Second // a person has to change something first
	replacedWait = time.Minute      // two would throw each other out for ever
)

// A backoff spaces the attempts to connect, with full jitter, so that many
// components do not come back in step.
type backoff struct{ failures int }

// after gives the state of the stream that ended with err, and how long to
// wait before the next.
func (b *backoff) after(err error) (State, time.Duration) {
	var refusal *RefusedError
	switch {
	case errors.As(err, &refusal):
		return Refused, refusedWait/2 + jitter(refusedWait/2)
	case errors.Is(err, errNotAlone):
		return Refused, refusedWait/2 + jitter(refusedWait/2)
	case replaced(err):
		return Refused, replacedWait + jitter(replacedWait/10)
	}
	var lost *lostError
	if !errors.As(err, &lost) {
		b.failures++
		return Down, b.jitter()
	}
	if lost.poisoned {
		// The server is well, and a message can end two streams at most: the
		// others must not wait long for it.
		return Resuming, jitter(shortestWait)
	}
	if b.failures++; lost.lived > longestWait {
		b.failures = 0
	}
	return Resuming, b.jitter()
}

func (b *backoff) jitter() time.Duration {
	return jitter(min(shortestWait<<min(b.failures, 10), longestWait))
}

func jitter(longest time.Duration) time.Duration {
	return rand.N(longest) + 1 // #nosec G404 -- spreads load, hides nothing
}

// sleep waits for d or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Hint gives the change in the server's configuration that would help against
// err, or nothing.
func (o Options) Hint(err error) string {
	var refusal *RefusedError
	if errors.Is(err, errNotAlone) {
		return fmt.Sprintf("end the other connection of %s: that of a posthorn that hangs or was cut off, or of one that does not share its database with this one (docs/ejabberd.md)", o.Domain)
	}
	if !errors.As(err, &refusal) {
		if replaced(err) {
			return fmt.Sprintf("another connection took over %s: run only one posthorn with this domain, or let all of them share a database", o.Domain)
		}
		return ""
	}
	switch refusal.Err.Condition {
	case "host-unknown":
		return fmt.Sprintf("the server has no component %q: add Component %q to prosody.cfg.lua and restart Prosody", o.Domain, o.Domain)
	case "conflict":
		return fmt.Sprintf("another connection holds %s: stop it, or set component_conflict_resolve = \"kick_old\" in Component %q of prosody.cfg.lua", o.Domain, o.Domain)
	case "not-authorized":
		// ejabberd says so of a component that it does not have, too.
		return fmt.Sprintf("the secret is wrong, or ejabberd has no component %q: make component.secret the same as component_secret in Component %q of prosody.cfg.lua, or as the password of %q under ejabberd_service in ejabberd.yml", o.Domain, o.Domain, o.Domain)
	}
	return ""
}
