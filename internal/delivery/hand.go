package delivery

import (
	"context"
	"sync/atomic"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// A handover is a message on its way without having been kept.
type handover struct {
	message *message.Message
	seq     int64           // of its record, if it comes to have one
	stream  int64           // which one it was for
	outcome message.Outcome // written once, before told is
	told    chan struct{}   // capacity 1, written once
	kept    atomic.Bool     // nobody waits for told any more: the record is in the store
}

// hand hands m over and waits for what becomes of it, no longer than the confirm
// timeout. Where that leads to nothing, m is kept.
func (d *Delivery) hand(ctx context.Context, m *message.Message) message.Outcome {
	h := &handover{message: m, seq: d.next(), stream: d.streams.Load(), told: make(chan struct{}, 1)}
	if d.shared() || d.waits(m) {
		return d.lineUp(ctx, d.record(m, h.seq))
	}
	withdraw, err := d.sender.Submit(m, func(status message.Status, err error) { d.tell(h, message.Outcome{Status: status, Err: err}) })
	if err != nil {
		return d.orKeep(ctx, h, message.Outcome{Err: err})
	}
	timeout := d.timers.Get().(*time.Timer)
	timeout.Reset(d.opts.ConfirmTimeout)
	defer func() { timeout.Stop(); d.timers.Put(timeout) }()
	select {
	case <-h.told:
		return d.orKeep(ctx, h, h.outcome)
	case <-timeout.C:
	case <-ctx.Done():
	}
	if !withdraw() {
		return d.overdue(ctx, h)
	}
	return d.orKeep(ctx, h, message.Outcome{Err: fault.New(fault.Unavailable, "the XMPP server did not take the message in time: it was not sent").MayPass()})
}

// tell takes the outcome of a handover.
func (d *Delivery) tell(h *handover, o message.Outcome) {
	h.outcome = o
	h.told <- struct{}{}
	if h.kept.Load() {
		d.takeLate(h)
	}
}

// takeLate settles a handover that is kept, if its outcome is there and nobody
// else has taken it.
func (d *Delivery) takeLate(h *handover) {
	if h.isTold() {
		d.returned(d.record(h.message, h.seq), h.outcome, false)
	}
}

// isTold reports whether the outcome is there, to one that asks.
func (h *handover) isTold() bool {
	select {
	case <-h.told:
		return true
	default:
		return false
	}
}

// overdue is for a message that is on the stream, whose outcome is not known: it
// is kept until it is, and goes again only when the stream has ended.
func (d *Delivery) overdue(ctx context.Context, h *handover) message.Outcome {
	if h.isTold() {
		return d.orKeep(ctx, h, h.outcome)
	}
	unknown := message.Outcome{Err: fault.New(fault.Unconfirmed, "the XMPP server did not confirm the message in time: it may or may not have been delivered")}
	if d.keeper == nil || ctx.Err() != nil {
		return unknown
	}
	if !d.keepFlying(h, fault.Of(unknown.Err)) {
		if h.isTold() {
			return d.orKeep(ctx, h, h.outcome)
		}
		return unknown
	}
	h.kept.Store(true)
	d.takeLate(h)
	return message.Outcome{Status: message.Kept}
}

// keepFlying keeps a message that is on the stream, for reason. It reports whether
// that could be done.
func (d *Delivery) keepFlying(h *handover, reason *fault.Error) bool {
	r := d.record(h.message, h.seq)
	r.Attempts, r.Code, r.Detail = 1, reason.Kind.String(), reason.Public
	d.mu.Lock()
	d.flights[r.Seq] = struct{}{}
	d.mu.Unlock()
	if err := d.keep(r); err != nil {
		d.mu.Lock()
		delete(d.flights, r.Seq)
		d.mu.Unlock()
		return false
	}
	return true
}

// orKeep gives an outcome where it is one, and else keeps the message: but for
// nobody who has gone.
func (d *Delivery) orKeep(ctx context.Context, h *handover, o message.Outcome) message.Outcome {
	if o.Err == nil || d.keeper == nil || ctx.Err() != nil {
		return o
	}
	r := d.record(h.message, h.seq)
	if d.judge(&r, o, true); !r.State.Pending() {
		return o
	}
	if err := d.keep(r); err != nil {
		return message.Outcome{Err: notKept(fault.Of(o.Err), fault.Of(err))}
	}
	if r.State == message.Unconfirmed && d.streams.Load() != h.stream {
		d.StreamChanged() // once more: it was not there to go again with the others
	}
	return message.Outcome{Status: message.Kept}
}

// notKept is the answer for a message that was refused and could not be kept. One
// that may have been delivered, or has bounced, is still that.
func notKept(refused, kept *fault.Error) *fault.Error {
	switch {
	case refused.Kind != fault.Unavailable:
		return refused
	case kept.Kind != fault.Unavailable:
		return kept
	}
	return fault.Wrap(kept, fault.Unavailable, "%s; %s", refused.Public, kept.Public)
}
