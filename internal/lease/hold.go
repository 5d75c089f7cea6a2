package lease

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var (
	errTaken   = errors.New("lease: another posthorn has taken it")
	errStopped = errors.New("lease: this process stood still for longer than it holds")
	errCutOff  = errors.New("lease: the stream is down")
)

// hold runs work while the lease is held.
func (l *Lease) hold(ctx context.Context, work func(context.Context)) {
	working, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer end()
		work(working)
	}()
	switch err := l.keep(working); {
	case errors.Is(err, errCutOff):
		l.turns = true
		l.seldom("no stream to the XMPP server, another posthorn may try", "reason", l.opts.Stream())
	case err != nil:
		l.grant.Store(nil)
		l.losses.Inc()
		l.opts.Log.Warn("this posthorn has lost the stream", "reason", err)
	}
	end()
	<-done
	l.giveBack(ctx)
}

// giveBack lets others have the lease, unless it was lost. What has just ended may have
// used what was left of it, but it was not renewed for that: so whoever does not end
// cannot keep it.
func (l *Lease) giveBack(ctx context.Context) {
	g := l.grant.Swap(nil) // before any other can have it
	if g == nil {
		return
	}
	l.backUntil = time.Now().Add(standBack)
	l.release(ctx, g.term)
}

// release ends the lease of that term, also after the end of ctx.
func (l *Lease) release(ctx context.Context, term int64) {
	releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), releasePatience)
	defer cancel()
	if err := l.keeper.ReleaseLease(releasing, l.opts.Name, term); err != nil {
		l.seldom("another posthorn has to wait for the stream", "err", fmt.Errorf("lease: release: %w", cause(err)))
	}
}

// keep renews the lease until ctx ends. Its error says why it has ended before.
func (l *Lease) keep(ctx context.Context) error {
	next, failure := renewEvery, errStopped
	l.downSince = time.Now()
	for l.Held() {
		if !l.downSince.IsZero() {
			next = min(next, time.Until(l.downSince.Add(cutAfter)))
		}
		l.wait(ctx, next)
		switch {
		case ctx.Err() != nil:
			return nil
		case !l.Held():
			return failure
		case l.cutOff():
			return errCutOff
		}
		began := time.Now()
		switch err := l.renew(ctx); {
		case err == nil: // of a database that is slow the next answer takes as long
			next, failure = renewEvery-time.Since(began), errStopped
		case errors.Is(err, errTaken):
			return err
		default:
			next, failure = retryAfter, err
		}
	}
	return failure
}

// cutOff looks at the own stream and reports whether it was down for too long.
func (l *Lease) cutOff() bool {
	switch {
	case l.opts.Stream() == up:
		l.downSince = time.Time{}
		if l.turns {
			l.turns = false
			l.opts.Log.Info(hasStream)
		}
		return false
	case l.downSince.IsZero():
		l.downSince = time.Now()
	}
	return time.Since(l.downSince) >= cutAfter
}

// renew renews the lease, if the answer comes while it is still held.
func (l *Lease) renew(ctx context.Context) error {
	g, asked := l.grant.Load(), l.clock()
	ctx, cancel := context.WithTimeout(ctx, min(patience, g.until-asked))
	defer cancel()
	renewed, err := l.keeper.RenewLease(ctx, l.opts.Name, g.term, life, l.opts.Stream())
	if err != nil {
		return fmt.Errorf("lease: renew: %w", cause(err))
	}
	if !renewed {
		return errTaken
	}
	l.grant.Store(&grant{term: g.term, until: asked + life - margin})
	return nil
}
