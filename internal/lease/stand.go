package lease

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

const hasStream = "this posthorn has the stream now"

// stand waits until the lease is held, and reports false where ctx ends before.
func (l *Lease) stand(ctx context.Context) bool {
	for ctx.Err() == nil {
		again := l.look(ctx)
		if l.Held() {
			return true
		}
		l.wait(ctx, again)
	}
	return false
}

// look reads the lease, takes it where it is nobody's, and says when to look again.
func (l *Lease) look(ctx context.Context) (again time.Duration) {
	again = lookEvery*3/4 + rand.N(lookEvery/2) // #nosec G404 -- spreads load, hides nothing
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	asked := l.clock()
	seen, err := l.keeper.ReadLease(asking)
	if err != nil {
		l.fail(ctx, fmt.Errorf("lease: read: %w", cause(err)))
		return again
	}
	l.other.Store(&sight{stream: seen.Stream, until: asked + seen.Left})
	back := time.Until(l.backUntil)
	switch {
	case seen.Left > 0 && seen.Holder == l.opts.Name:
		// It was taken or renewed, but the answer never came. Since when is not known.
		l.release(ctx, seen.Term)
		return retryAfter
	case seen.Left > 0:
		return min(again, seen.Left)
	case back > 0:
		return min(again, back)
	}
	l.take(ctx, asking, seen)
	return again
}

// take tries to get the lease, which was nobody's when it was seen.
func (l *Lease) take(ctx, asking context.Context, seen message.Lease) {
	asked := l.clock()
	lease, taken, err := l.keeper.TakeLease(asking, l.opts.Name, life)
	if err != nil {
		l.fail(ctx, fmt.Errorf("lease: take: %w", cause(err)))
		return
	}
	if !taken {
		return // another was faster
	}
	l.grant.Store(&grant{term: lease.Term, until: asked + life - margin})
	if l.Held() {
		l.tellTaken(seen)
	}
}

// tellTaken logs from whom the lease was taken. Where posthorns take turns because none
// reaches the XMPP server, that is not worth a line until one does (cutOff).
func (l *Lease) tellTaken(seen message.Lease) {
	l.takes.Inc()
	switch {
	case seen.Holder != "" && seen.Holder != l.opts.Name:
		l.turns = false // this line says it
		silent := (life - seen.Left).Round(100 * time.Millisecond)
		l.opts.Log.Warn(hasStream, "reason", fmt.Sprintf("posthorn %s had it and was not heard of for %v", seen.Holder, silent))
	case !l.turns:
		l.opts.Log.Info(hasStream)
	}
}

// fail logs that a statement failed, unless it did because ctx ended, or that is known.
func (l *Lease) fail(ctx context.Context, err error) {
	if ctx.Err() == nil && (l.opts.Known == nil || !l.opts.Known()) {
		l.seldom("who has the stream cannot be found out, will try again", "err", err)
	}
}

// cause leaves out of an error the line for clients, which refers them to this log.
func cause(err error) error { return cmp.Or(fault.Of(err).Err, err) }
