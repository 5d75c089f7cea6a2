package delivery

import (
	"math/rand/v2"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// The first try after a bounce that may pass comes within firstRetry, and each
// further one within twice the time, up to longestRetry.
const (
	firstRetry   = 10 * time.Second
	longestRetry = 15 * time.Minute
)

// judge says what is to become of a record, by what became of its message. waits
// is whether somebody still waits for that: they can be told what would otherwise
// be decided for them.
func (d *Delivery) judge(r *message.Record, o message.Outcome, waits bool) {
	if o.Err == nil {
		r.Attempts++
		d.finish(r, message.State(o.Status))
		r.Code, r.Detail = "", ""
		return
	}
	f := fault.Of(o.Err)
	r.Code, r.Detail = f.Kind.String(), f.Public
	switch {
	case f.Kind == fault.Unavailable && !f.Passing && waits:
		d.finish(r, message.Failed)
		return
	case f.Kind == fault.Unavailable:
		r.State = message.Queued
		return
	}
	r.Attempts++
	switch {
	case f.Kind == fault.Unconfirmed && f.Passing: // its stream has ended
		r.State = message.Queued
	case f.Kind == fault.Unconfirmed:
		r.State, r.Wake, r.Waits = message.Unconfirmed, r.Expires, false
	case f.Kind == fault.Rejected:
		d.finish(r, message.Rejected)
	case f.Passing:
		r.State, r.Wake, r.Waits = message.Waiting, time.Now().Add(backoff(r.Attempts)), false
		if r.Wake.After(r.Expires) {
			r.Wake = r.Expires
		}
	case waits && (f.Kind == fault.RemoteFailed || f.Kind == fault.Internal):
		d.finish(r, message.Failed)
	default:
		d.finish(r, message.Bounced)
	}
}

// finish makes a record final.
func (d *Delivery) finish(r *message.Record, s message.State) {
	r.State, r.Wake = s, time.Now().Add(d.opts.Remember)
}

// backoff is the time to the next try after so many, with full jitter.
func backoff(attempts int) time.Duration {
	return rand.N(min(firstRetry<<min(attempts-1, 10), longestRetry)) + 1 // #nosec G404 -- spreads load, hides nothing
}
