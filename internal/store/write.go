package store

import (
	"context"
	"math/rand/v2"
	"runtime"
	"time"

	"posthorn/internal/fault"
)

// A write is a part of the next transaction: one of do, put, settle and stop.
type write struct {
	do     func(*connection) error
	put    *putting
	settle *settling
	stop   *stopping
	done   chan error // capacity 1: Run does not wait for who has gone
}

// apply does what w is about.
func (w *write) apply(c *connection) error {
	switch {
	case w.put != nil:
		return c.put(w.put)
	case w.settle != nil:
		return c.settle(w.settle)
	case w.stop != nil:
		return c.stop(w)
	}
	return w.do(c)
}

// size is how many records w is about, or as much work.
func (w *write) size() int {
	switch {
	case w.put != nil:
		return len(w.put.records)
	case w.settle != nil:
		return len(w.settle.changes)
	case w.stop != nil:
		return len(w.stop.seqs)
	}
	return doSize
}

// doSize makes those that do anything few in a batch: each takes some ways to the database
// and back, which may be far.
const doSize = maxBatch / 64

// commitOnce lets Run do something in a transaction, and waits until it is on
// disk. ctx bounds the wait for a place alone: what has begun has an outcome.
func (s *Store) commitOnce(ctx context.Context, do func(*connection) error) error {
	return s.enqueue(ctx, &write{do: do})
}

// enqueue is commitOnce for any write.
func (s *Store) enqueue(ctx context.Context, w *write) error {
	if err := s.Failure(); err != nil {
		return unavailable(err)
	}
	w.done = make(chan error, 1)
	select {
	case s.writes <- w:
	case <-s.ended:
		return unavailable(errEnded)
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-w.done:
		return err
	case <-s.ended:
	}
	select {
	case err := <-w.done: // it was the last
		return err
	default:
		return unavailable(errEnded)
	}
}

// write commits w together with all that wait beside it.
func (s *Store) write(w *write) {
	for _, batch := range s.parts(s.withWaiting(w)) {
		s.commitAll(batch)
	}
}

// withWaiting gives w and the writes that wait.
func (s *Store) withWaiting(w *write) []*write {
	// Whoever was just told, or is about to write, comes first: with one processor
	// Run would else go from commit to commit, and few would share each.
	runtime.Gosched()
	batch := []*write{w}
	for size := w.size(); size < maxBatch; {
		select {
		case w := <-s.writes:
			batch = append(batch, w)
			size += w.size()
			continue
		default:
		}
		break
	}
	return batch
}

// parts gives what is to be committed together. Who settles and who stops waiting both take
// the records in the order of their numbers, but one after the other they would not.
func (s *Store) parts(batch []*write) (parts [][]*write) {
	if s.engine.together == nil {
		return [][]*write{batch}
	}
	var merged, stops, others []*write
	for _, w := range batch {
		switch {
		case w.do != nil:
			others = append(others, w)
		case w.stop != nil:
			stops = append(stops, w)
		default:
			merged = append(merged, w)
		}
	}
	for _, part := range [][]*write{merged, stops, others} {
		if len(part) > 0 {
			parts = append(parts, part)
		}
	}
	return parts
}

// commitAll commits a batch. One write that cannot be written, whatever state the
// database is in, does not take the others with it.
func (s *Store) commitAll(batch []*write) {
	began := time.Now()
	if s.engine.together != nil && batch[0].do != nil { // they take rows in whatever order: together they would meet others in a circle
		s.commitEach(batch, began)
		return
	}
	err := s.transact(batch)
	switch v := s.engine.judge(err); {
	case v == contended, (v == refused || v == unfit) && len(batch) > 1:
		s.commitEach(batch, began)
	case v == blocked && s.engine.judge(s.transact(nil)) == blocked: // by the whole table
		s.setFailure(err)
		s.tell(batch, err)
	case v == blocked:
		s.commitEach(batch, began)
	default:
		s.tell(batch, err)
	}
}

const (
	// contendedTime is for how long a write is tried again that others get in the way of:
	// several times what PostgreSQL takes to see a deadlock, which is a second.
	contendedTime = 4 * time.Second
	// contendedPause, at the least, is what it leaves the others first: who tries again at
	// once is there before those whom its own end has woken.
	contendedPause = 20 * time.Millisecond
	// blockedTime is how long after a batch began a write of it is tried that may have to
	// wait for somebody who keeps others waiting.
	blockedTime = 2 * pgLimit
)

// commitEach commits the writes of a batch one by one.
func (s *Store) commitEach(batch []*write, began time.Time) {
	var stuck error // why no more of them is tried
	for i := range batch {
		err := stuck
		if stuck == nil {
			err = s.transactAlone(batch[i : i+1])
		}
		if stuck == nil && s.engine.judge(err) == blocked && time.Since(began) > blockedTime {
			stuck = err
			s.setFailure(err)
		}
		s.tell(batch[i:i+1], err)
		if failure := s.Failure(); stuck == nil && failure != nil {
			stuck = unasked{failure}
		}
	}
}

func (s *Store) transactAlone(batch []*write) (err error) {
	for began := time.Now(); time.Since(began) < contendedTime; {
		if err = s.transact(batch); s.engine.judge(err) != contended {
			break
		}
	}
	return err
}

// tell tells a batch what became of it.
func (s *Store) tell(batch []*write, err error) {
	v := s.engine.judge(err)
	if s.others != nil {
		s.others.hear(batch, v)
	}
	if v != refused && v != unfit && v != contended && v != blocked && v != lost {
		s.setFailure(err)
	}
	for _, w := range batch {
		w.done <- w.answer(v, err)
	}
	if v == lost { // it may have been that connection alone
		s.prove()
	}
}

// prove finds out whether something can be written. Somebody who has locked something for
// a moment is no failure.
func (s *Store) prove() {
	err := s.transact(nil)
	if s.engine.judge(err) != blocked || s.Failure() != nil {
		s.setFailure(err)
	}
}

// answer is the error for who wanted w written.
func (w *write) answer(v verdict, err error) error {
	switch {
	case v == fine || v == refused:
		return err
	case v == unfit:
		return fault.Wrap(err, fault.Unsendable, "the database cannot keep this: an address or an id is too long, or has a character that it does not take")
	case v == lost && (w.put != nil || w.settle != nil && w.settle.revives()):
		return fault.Wrap(err, fault.Unconfirmed, "the database did not confirm in time that the message is kept: it may or may not be sent")
	}
	return unavailable(err)
}

// unsentTime is how long after its begin a batch is tried on another connection.
const unsentTime = time.Second

// transact commits a batch, an empty one to see whether that works.
func (s *Store) transact(batch []*write) error {
	d, err := s.opened()
	if err != nil {
		return err
	}
	began := time.Now()
	err = s.attempt(d, batch)
	if s.engine.judge(err) == unsent && time.Since(began) < unsentTime {
		err = s.attempt(d, batch)
	}
	s.commit.Observe(time.Since(began).Seconds())
	switch s.engine.judge(err) {
	case fine:
		return nil
	case contended:
		time.Sleep(contendedPause + rand.N(contendedPause)) // #nosec G404 -- spreads load, hides nothing
	case unknown, tableless, damaged:
		s.closeDatabase() // it is looked at again before it is used
	case unsent:
		if _, closed := s.opened(); closed != nil { // by another writer, who knows why
			return closed
		}
	}
	return s.explain(err)
}

// attempt commits a batch on one connection.
func (s *Store) attempt(d *database, batch []*write) error {
	c, err := d.connection(&s.engine)
	if err != nil {
		return err
	}
	defer c.done()
	ctx, cancel := s.engine.within()
	defer cancel()
	c.ctx = ctx
	if s.engine.together != nil && len(batch) > 0 && batch[0].do == nil {
		return s.engine.together(c, batch)
	}
	return c.transact(func() error {
		if len(batch) == 0 {
			return c.try(s.Failure() != nil)
		}
		for _, w := range batch {
			if err := w.apply(c); err != nil {
				return err
			}
		}
		return nil
	})
}

// try writes something that changes nothing, and more where that has failed.
func (c *connection) try(failed bool) error {
	err := c.simply(c.engine.try)
	if err == nil && failed && c.engine.room != "" {
		err = c.simply(c.engine.room)
	}
	return err
}
