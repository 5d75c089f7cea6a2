package component

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"sync"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/stream"
)

const (
	// window is how many batches may be in flight: one that the server works
	// on, those that wait there, one on its way back.
	window = 4
	// batchMessages and batchBytes bound one write, and with it how long the
	// server is busy before it looks at anybody else.
	batchMessages = 256
	batchBytes    = 256 << 10

	// reflectionWait is what a room may take to send a message back.
	reflectionWait = 20 * time.Second

	// askAgain is when a session that may speak for nobody is given up, so
	// that the next one asks whether the server's configuration has changed.
	askAgain = time.Minute
)

var (
	errStalled  = errors.New("the server does not answer")
	errAskAgain = errors.New("the server lets the component speak for nobody")
	errClosed   = errors.New("closed by the server")
	errChecked  = errors.New("checked")
)

// A session is the life of one connection after the handshake. Two goroutines:
// Run's, which finds the voices and then is the writer, and the reader; and one for
// each command of a user that is being done.
type session struct {
	c          *Component
	conn       net.Conn
	began      time.Time
	inflight   inflight
	answers    chan []byte    // reader and commands send, writer receives; 64: a flood of questions is dropped, not kept
	returned   chan struct{}  // reader: there is room for a batch again; capacity 1, a mark
	advertised chan struct{}  // reader: a privilege was granted; capacity 1, a mark
	echoing    chan struct{}  // reader: one of the echoes is back; capacity 1, a mark
	working    sync.WaitGroup // commands that are being done

	// Owned by the reader.
	reader *stream.Reader

	// Owned by the writer.
	check       func(context.Context) // what to find out, and leave; nil: messages flow
	buf         []byte
	lastBarrier time.Time
	wasUp       bool

	// Guarded by mu.
	mu      sync.Mutex
	echoes  map[string]bool // ids of what we have asked ourselves: is it back?
	readErr error           // why the reader ended
	ending  bool            // what is written now has to be quick
}

func newSession(c *Component, conn net.Conn, reader *stream.Reader) *session {
	return &session{
		c: c, conn: conn, reader: reader, began: time.Now(),
		answers:    make(chan []byte, 64),
		returned:   make(chan struct{}, 1),
		advertised: make(chan struct{}, 1),
		echoing:    make(chan struct{}, 1),
		echoes:     make(map[string]bool),
		inflight:   inflight{limit: window, batch: c.patience.batch, toRooms: make(map[reflection]toRoom)},
	}
}

// run ends with the connection or with ctx. The error is never nil.
func (s *session) run(parent context.Context) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	defer context.AfterFunc(ctx, s.hurry)()
	s.c.forgetVoices()
	s.c.rooms.reconnected()
	s.c.inquiries.end() // of who asked just when the last stream had ended
	readerDone := make(chan struct{})
	go func() {
		defer close(readerDone)
		defer cancel()
		s.setReadError(s.read(ctx))
	}()
	s.c.within(2*(s.c.patience.write+s.c.patience.stalled) + advertisementWait)
	err := s.lead(ctx)
	s.c.within(lastWords + workTimeout)
	if parent.Err() != nil {
		s.c.rooms.leaveAll()
	}
	s.sayGoodbye()
	<-readerDone // and ctx has ended
	s.working.Wait()
	_ = s.conn.Close()
	return s.verdict(err)
}

// lead is the writer's side of a session.
func (s *session) lead(ctx context.Context) error {
	if err := s.findOthers(ctx); err != nil {
		return err
	}
	if err := s.findVoices(ctx); err != nil {
		return err
	}
	if s.check != nil {
		return s.leadCheck(ctx)
	}
	s.wasUp = true
	s.c.setState(Up)
	return s.write(ctx)
}

// verdict says why the session ended. What the server said about it counts
// most, and a read that failed only because the writer had given up least.
func (s *session) verdict(writeErr error) error {
	if writeErr == errNotDirect || writeErr == errChecked {
		return writeErr
	}
	err := s.readError()
	var spoken *StreamError
	switch {
	case !s.c.may():
		err = errMayNot // so what the server said is most likely that it has let another in
	case !errors.As(err, &spoken) && !errors.Is(writeErr, context.Canceled):
		err = writeErr
	}
	if !s.wasUp {
		return err
	}
	return &lostError{err: err, lived: time.Since(s.began)}
}

// sayGoodbye closes our side of the stream (RFC 6120 §4.4), and leaves the server as
// little time to close its own.
func (s *session) sayGoodbye() {
	_ = s.conn.SetDeadline(time.Now().Add(lastWords))
	_, _ = s.conn.Write(append(s.c.rooms.appendPresences(nil), "</stream:stream>"...))
}

// write takes what waits and puts it on the stream, until ctx ends.
func (s *session) write(ctx context.Context) error {
	if err := s.sendSuspects(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(s.c.patience.tick)
	defer tick.Stop()
	for ctx.Err() == nil { // a select may choose the queue although the stream has ended
		s.c.within(s.c.patience.write + s.c.patience.tick)
		var waiting, forRooms <-chan struct{}
		var inquiries <-chan []byte
		if !s.inflight.full() {
			s.c.queue.await(s.inflight.worthwhile)
			waiting, forRooms, inquiries = s.c.queue.waiting, s.c.rooms.work, s.c.inquiries.out
		}
		var err error
		select {
		case <-waiting:
			if s.c.queue.len() >= s.inflight.worthwhile() {
				err = s.sendWaiting()
			}
		case <-forRooms:
			err = s.sendWaiting()
		case inquiry := <-inquiries:
			s.buf = append(s.buf, inquiry...)
			err = s.send(nil) // with a barrier, or they would put off the one that finds a dead peer
		case answer := <-s.answers:
			s.buf = append(s.buf, answer...)
			err = s.flush()
		case now := <-tick.C:
			if err = s.monitor(now); err == nil && !s.inflight.full() {
				err = s.sendWaiting() // a barrier that was lost must not hold back what waits
			}
		case <-s.returned:
		case <-ctx.Done():
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// sendWaiting writes all that waits, as far as one batch may go. Where the stream is
// not ours any more, nothing is taken, so that it is known not to have been written.
func (s *session) sendWaiting() error {
	if !s.c.may() {
		return errMayNot
	}
	var taken []*delivery
	s.buf = s.c.rooms.appendPresences(s.buf)
	for d := s.next(0); d != nil; d = s.next(len(taken)) {
		taken = s.take(taken, d)
	}
	s.buf = s.c.rooms.appendPresences(s.buf) // for those that have no seat yet
	switch {
	case len(taken) > 0:
		return s.send(taken)
	case len(s.buf) > 0:
		return s.flush()
	}
	return nil
}

// next gives a delivery that waits, while there is one and n more may join.
func (s *session) next(n int) *delivery {
	if n >= s.c.patience.batch || len(s.buf) >= batchBytes {
		notify(s.c.rooms.work) // for what may be left
		return nil
	}
	if d := s.c.rooms.pop(); d != nil {
		return d
	}
	return s.c.queue.pop()
}

// take encodes d and adds it to those taken before, if it is waited for and
// can be sent.
func (s *session) take(taken []*delivery, d *delivery) []*delivery {
	if !d.suspect && !d.claim() {
		return taken
	}
	held, err := s.encode(d)
	switch {
	case held:
		return taken
	case err == nil:
		return append(taken, d)
	}
	if d.suspect { // it was written before, so "not sent" would be untrue
		err = unconfirmed(err)
	}
	s.c.resolve(d, outcome{err: err})
	return taken
}

// send writes what is encoded, the deliveries taken, and a barrier after them.
func (s *session) send(taken []*delivery) error {
	b := batch{barrier: rand.Text(), written: time.Now(), deliveries: taken}
	s.lastBarrier = b.written
	if len(taken) > 0 {
		s.c.metrics.batch.Observe(float64(len(taken)))
	}
	s.buf = appendBarrier(s.buf, s.c.opts.Domain, b.barrier)
	s.inflight.add(b)
	return s.flush()
}

// encode appends d to what is written next, unless it is held until it has a
// seat in its room.
func (s *session) encode(d *delivery) (held bool, err *fault.Error) {
	if d.toRoom() {
		d.wireID = d.message.ID
		if held, err = s.c.rooms.seat(d); held || err != nil {
			return held, err
		}
		return false, s.append(d, voice{})
	}
	return false, s.encodeToUser(d)
}

func (s *session) encodeToUser(d *delivery) *fault.Error {
	m := d.message
	v := s.c.voice(m.From.Domain())
	if !v.speaks() {
		return mute(m.From)
	}
	d.wireID, d.wrapped = m.ID, !v.direct
	if d.wrapped {
		d.wireID = rand.Text() // the sender's own need not be unique in our wrappers
	}
	// A blocked sender's message to a full JID vanishes without a word, and a
	// headline may be dropped (RFC 6121 §8.5), so those are never "delivered".
	d.tells = v.direct && (m.Type == message.Chat || m.Type == message.Normal) && m.To.IsBare() && s.c.voice(m.To.Domain()).tells
	return s.append(d, v)
}

func (s *session) append(d *delivery, v voice) *fault.Error {
	before := len(s.buf)
	s.buf = d.append(s.buf, s.c.opts.Domain, v, d.message.Accepted)
	err := s.c.tooLarge(len(s.buf) - before)
	if err != nil && !d.message.Accepted.IsZero() { // it fitted when it was accepted, without saying so
		s.buf = d.append(s.buf[:before], s.c.opts.Domain, v, time.Time{})
		err = s.c.tooLarge(len(s.buf) - before)
	}
	if err != nil {
		s.buf = s.buf[:before]
		return fault.Of(err)
	}
	return nil
}

// flush writes the buffer.
func (s *session) flush() error {
	s.limit(s.c.patience.write)
	_, err := s.conn.Write(s.buf)
	if s.buf = s.buf[:0]; cap(s.buf) > 4*batchBytes {
		s.buf = nil
	}
	return err
}

// limit bounds the next write.
func (s *session) limit(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		d = min(d, lastWords)
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(d))
}

// hurry is for the end of ctx, which must not wait for a write that is stuck.
func (s *session) hurry() {
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	s.limit(lastWords)
}

// sendSuspects sends one message a barrier, so that the next one to end the
// stream is known.
func (s *session) sendSuspects(ctx context.Context) error {
	s.inflight.setLimit(1)
	defer s.inflight.setLimit(window)
	for len(s.c.suspects) > 0 {
		s.c.within(s.c.patience.write + s.c.patience.stalled)
		d := s.c.suspects[0]
		s.c.suspects = s.c.suspects[1:]
		taken := s.take(nil, d)
		if len(taken) == 0 {
			continue
		}
		if err := s.send(taken); err != nil {
			return err
		}
		timeout := time.NewTimer(s.c.patience.stalled)
		for s.inflight.full() {
			select {
			case <-s.returned:
			case <-timeout.C:
				return errStalled
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		timeout.Stop()
	}
	return nil
}

// monitor looks at each tick whether the peer is alive. One that is slow is, as long as
// barriers come back. An overdue barrier is followed by another, since a server may
// lose one and answer the next.
func (s *session) monitor(now time.Time) error {
	s.c.rooms.sweep(now)
	for _, d := range s.inflight.forgetRooms(now.Add(-reflectionWait)) {
		s.c.resolve(d, outcome{err: notReflected(d)})
	}
	n, oldest, since := s.inflight.oldest()
	switch {
	case n > 0 && now.Sub(since) > s.c.patience.stalled:
		return errStalled
	case n == 0 && now.Sub(s.began) > askAgain && !s.c.Ready():
		clear(s.c.notDirect)
		return errAskAgain
	case n > 0 && now.Sub(oldest) > s.c.opts.ConfirmTimeout, n == 0 && now.Sub(s.lastBarrier) > s.c.patience.keepAlive:
		return s.send(nil)
	}
	return nil
}

func (s *session) setReadError(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readErr = err
}

func (s *session) readError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.readErr
}

// notify leaves a mark in a channel of capacity 1.
func notify(mark chan<- struct{}) {
	select {
	case mark <- struct{}{}:
	default:
	}
}
