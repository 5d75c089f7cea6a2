package store

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// A write is a part of the next transaction: one of do, put and settle.
type write struct {
	do     func(*connection) error
	put    *putting
	settle *settling
	done   chan error // capacity 1: Run does not wait for who has gone
}

// apply does what w is about.
func (w *write) apply(c *connection) error {
	switch {
	case w.put != nil:
		return c.put(w.put)
	case w.settle != nil:
		return c.settle(w.settle)
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
	}
	return 1
}

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

// parts gives what is to be committed together.
func (s *Store) parts(batch []*write) (parts [][]*write) {
	if s.engine.together == nil {
		return [][]*write{batch}
	}
	var merged, others []*write
	for _, w := range batch {
		if w.do == nil {
			merged = append(merged, w)
		} else {
			others = append(others, w)
		}
	}
	for _, part := range [][]*write{merged, others} {
		if len(part) > 0 {
			parts = append(parts, part)
		}
	}
	return parts
}

// commitAll commits a batch. One write that cannot be written, whatever state the
// database is in, does not take the others with it.
func (s *Store) commitAll(batch []*write) {
	err := s.transact(batch)
	if alone := s.engine.judge(err); alone == refused || alone == unfit || alone == contended {
		for i := range batch {
			if len(batch) > 1 || alone == contended {
				err = s.transactAlone(batch[i : i+1])
			}
			s.tell(batch[i:i+1], err)
		}
		return
	}
	s.tell(batch, err)
}

// contendedTime is for how long a write is tried again that others get in the way of.
const contendedTime = time.Second

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
	if v == fine && s.others != nil {
		s.others.hear(batch)
	}
	if v != refused && v != unfit && v != contended && v != lost {
		s.setFailure(err)
	}
	for _, w := range batch {
		w.done <- w.answer(v, err)
	}
	if v == lost { // it may have been that connection alone
		s.setFailure(s.transact(nil))
	}
}

// answer is the error for who wanted w written.
func (w *write) answer(v verdict, err error) error {
	switch {
	case v == fine || v == refused:
		return err
	case v == unfit:
		return fault.Wrap(err, fault.Unsendable, "the database cannot keep this: an address or an id is too long, or has a character that it does not take")
	case v == lost && w.put != nil:
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
	case unknown, tableless, damaged:
		s.closeDatabase() // it is looked at again before it is used
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
			return c.try()
		}
		for _, w := range batch {
			if err := w.apply(c); err != nil {
				return err
			}
		}
		return nil
	})
}

// try writes something that changes nothing.
func (c *connection) try() error {
	_, err := c.exec(`UPDATE versions SET version = version`)
	return err
}

// A putting is a Put under way.
type putting struct {
	records  []message.Record
	contents [][]byte // of their messages
	numbered func()
	parts    []int64 // which of its request each is, for those that are kept as they are; nil: as they stand

	// What came of it.
	kept    bool
	earlier []message.Record
}

// part is which of its request the record at that place is.
func (p *putting) part(place int) int64 {
	if p.parts != nil {
		return p.parts[place]
	}
	return int64(place)
}

// maxVanished is how often a request is put whose earlier one is there, and has been
// forgotten when it is looked for.
const maxVanished = 3

// Put keeps records, all or none, and returns when they are on disk. Where they
// have a Scope of which there are records already, it keeps nothing and gives
// those. numbered is called before anybody else can see the records, which have their
// Seq by then: PostgreSQL gives it to them; again, where the store had to begin anew. The
// error is a *fault.Error, of the kind Unconfirmed where nobody knows whether they are kept.
func (s *Store) Put(ctx context.Context, records []message.Record, numbered func()) (earlier []message.Record, err error) {
	p := &putting{records: records, numbered: numbered}
	if p.contents, err = contentsOf(records); err != nil {
		return nil, err
	}
	for range maxVanished {
		if err := s.enqueue(ctx, &write{put: p}); err != nil || p.kept || len(p.earlier) > 0 {
			return p.earlier, err
		}
		if earlier, err = s.Select(ctx, message.Query{Scope: records[0].Scope}); err != nil || len(earlier) > 0 {
			return earlier, err
		}
	}
	return nil, unavailable(errors.New("store: a request is kept by turns and forgotten"))
}

// contentsOf gives the texts of those records that are pending.
func contentsOf(records []message.Record) (contents [][]byte, err error) {
	contents = make([][]byte, len(records))
	for i := range records {
		if !records[i].State.Pending() {
			continue
		}
		if contents[i], err = json.Marshal(records[i].Message); err != nil { // #nosec G117 -- a room asks for its password when the message is sent
			return nil, err
		}
	}
	return contents, nil
}

// put keeps the records of p one by one.
func (c *connection) put(p *putting) (err error) {
	if scope := p.records[0].Scope; scope != "" && p.parts == nil {
		if p.earlier, err = c.find(message.Query{Scope: scope}); err != nil || len(p.earlier) > 0 {
			return err
		}
	}
	if p.numbered != nil {
		p.numbered()
	}
	for i := range p.records {
		if err := c.insert(&p.records[i], p.part(i), p.contents[i]); err != nil {
			return err
		}
	}
	p.kept = true
	return nil
}

// insert keeps a record, the one of that part of its request.
func (c *connection) insert(r *message.Record, part int64, content []byte) error {
	_, err := c.exec(`INSERT INTO messages (seq, sender, recipient, id, content, state, attempts, code, detail, expires, wake, size, scope, digest, accepted, part, term, waits)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`,
		r.Seq, string(r.From), string(r.To), r.ID, content, string(r.State), r.Attempts, r.Code, r.Detail, r.Expires.UnixNano(), r.Wake.UnixNano(), r.Size, r.Scope, r.Digest, r.Accepted.UnixNano(), part, r.Term, flag(r.Waits))
	return err
}

// flag is a truth as a number.
func flag(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

// A settling is a Settle under way.
type settling struct {
	changes  []message.Change
	contents [][]byte // of the messages that come back
	applied  []bool   // what came of it
}

// Settle writes what has become of records, and gives for each whether it was still what
// it was before, claimed under no later term than it says, and Under the lease's term. The
// texts of those that are final are dropped; a record that is pending again gets the
// Message that it is given. Where somebody waited for the outcome and does no more, it
// does not become Failed.
func (s *Store) Settle(ctx context.Context, changes []message.Change) (applied []bool, err error) {
	p := &settling{changes: changes, contents: make([][]byte, len(changes)), applied: make([]bool, len(changes))}
	for i := range changes {
		if c := &changes[i]; c.State.Pending() && !c.Before.Pending() {
			if p.contents[i], err = json.Marshal(c.Message); err != nil { // #nosec G117 -- a room asks for its password when the message is sent
				return nil, err
			}
		}
	}
	if err := s.enqueue(ctx, &write{settle: p}); err != nil {
		return nil, err
	}
	return p.applied, nil
}

// settle writes the changes of p one by one.
func (c *connection) settle(p *settling) (err error) {
	for i := range p.changes {
		if p.applied[i], err = c.change(&p.changes[i], p.contents[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *connection) change(change *message.Change, content []byte) (applied bool, err error) {
	text := `NULL`
	args := []any{change.Seq, string(change.Before), string(change.State), change.Attempts, change.Code, change.Detail, change.Wake.UnixNano(), change.Expires.UnixNano(),
		change.Term, change.Under, flag(change.Waits), flag(!change.Before.Pending())}
	switch {
	case content != nil:
		text = `$13`
		args = append(args, content)
	case change.State.Pending():
		text = `content`
	}
	n, err := c.exec(`UPDATE messages SET state = $3, attempts = $4, code = $5, detail = $6, wake = $7, expires = $8, content = `+text+`,
			waits = CASE WHEN $12 THEN $11 ELSE min(waits, $11) END
		WHERE seq = $1 AND state = $2 AND term <= $9 AND ($10 = 0 OR EXISTS (SELECT 1 FROM leases WHERE name = 'stream' AND term = $10))
			AND ($3 <> 'failed' OR $12 OR waits >= $11)`, args...)
	return n > 0, err
}

// beyond is the newest time of a final record of which there are too many.
const beyond = `SELECT coalesce((SELECT wake FROM messages WHERE NOT ` + open + ` ORDER BY wake DESC LIMIT 1 OFFSET $1), 0)`

// forgetting removes some final records whose time is over.
const forgetting = `DELETE FROM messages WHERE seq IN (SELECT seq FROM messages WHERE wake <= $1 AND NOT ` + open + ` ORDER BY wake LIMIT $2)`

// maxForgotten bounds what one transaction removes, and with it how long it keeps
// others from writing.
const maxForgotten = 1024

// Forget removes final records whose time is over, and the oldest of those that
// are more than keep, and originals in the same way. It gives how many it removed,
// with an error too.
func (s *Store) Forget(ctx context.Context, now time.Time, keep int) (removed int, err error) {
	for _, forget := range []func(*connection) (int64, error){
		func(c *connection) (int64, error) { return c.forgetRecords(now, keep) },
		func(c *connection) (int64, error) { return c.forgetOriginals(now) },
	} {
		for n := int64(maxForgotten); n == maxForgotten; removed += int(n) {
			if err := s.commitOnce(ctx, func(c *connection) (err error) { n, err = forget(c); return err }); err != nil {
				return removed, err
			}
		}
	}
	return removed, nil
}

func (c *connection) forgetRecords(now time.Time, keep int) (removed int64, err error) {
	until, err := c.number(beyond, keep)
	if err != nil {
		return 0, err
	}
	return c.exec(forgetting, max(until, now.UnixNano()), maxForgotten)
}
