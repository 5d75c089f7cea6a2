package delivery

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// A stream is a sender whose server does what a test says, as the package component
// documents Submit.
type stream struct {
	t       testing.TB
	changed func()                // tells the Delivery
	trace   func(id, what string) // may be nil

	mu        sync.Mutex
	up        bool
	resuming  bool                 // while it is not: fresh messages wait for the next stream
	mute      map[message.JID]bool // senders whose host it may not speak for
	tooLarge  map[string]bool      // bodies that do not fit, and ids of messages whose corrections do not
	keptFirst func() bool          // whose line has its turn; nil: there is but one line
	full      bool                 // takes no more
	dead      bool                 // nothing is told any more, as after a crash
	queue     []*item              // waits for the writer
	written   []*item              // without an outcome, in order
	keys      map[string]*item     // of both
	submits   int
	received  []string // ids, in the order in which the server processed them
}

// An item is one message between Submit and its outcome.
type item struct {
	m         *message.Message
	told      func(message.Status, error)
	processed bool
	outcome   *message.Outcome // known, and told when its barrier returns
}

func newStream(t testing.TB) *stream {
	return &stream{t: t, up: true, mute: make(map[message.JID]bool), tooLarge: make(map[string]bool), keys: make(map[string]*item)}
}

func keyOf(m *message.Message) string { return string(m.From) + " " + string(m.To) + " " + m.ID }

func (s *stream) Submit(m *message.Message, told func(message.Status, error)) (withdraw func() bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.submits++
	switch {
	case s.dead, !s.up && (!s.resuming || m.Kept):
		return nil, down()
	case s.mute[m.From]:
		return nil, fault.New(fault.Unavailable, "mute")
	case s.keys[keyOf(m)] != nil:
		return nil, fault.New(fault.Conflict, "under way")
	case s.full:
		return nil, fault.New(fault.Unavailable, "full").MayPass()
	}
	s.say(m, "submitted")
	i := &item{m: m, told: told}
	s.keys[keyOf(m)] = i
	s.queue = append(s.queue, i)
	return func() bool { return s.withdraw(i) }, nil
}

func (s *stream) say(m *message.Message, what string) {
	if s.trace != nil {
		s.trace(m.ID, what)
	}
}

func down() *fault.Error { return fault.New(fault.Unavailable, "no stream").MayPass() }

func cutOff() *fault.Error { return fault.New(fault.Unconfirmed, "the stream ended").MayPass() }

func (s *stream) withdraw(i *item) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(s.queue, i)
	if at < 0 {
		return false
	}
	s.queue = slices.Delete(s.queue, at, at+1)
	delete(s.keys, keyOf(i.m))
	return true
}

func (s *stream) Fits(m *message.Message) error {
	if s.tooLarge[m.Body] || s.tooLarge[m.Replace] {
		return fault.New(fault.TooLarge, "too large")
	}
	return nil
}

// set changes what the stream does.
func (s *stream) set(change func(*stream)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// Up is for Options.
func (s *stream) Up() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up && !s.dead
}

// write puts up to n of what waits on the stream: of what was kept, and of what
// is fresh, each in order.
func (s *stream) write(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = min(n, len(s.queue))
	if s.keptFirst != nil {
		first := s.keptFirst()
		slices.SortStableFunc(s.queue, func(a, b *item) int {
			switch {
			case a.m.Kept == b.m.Kept:
				return 0
			case a.m.Kept == first:
				return -1
			}
			return 1
		})
	}
	s.written = append(s.written, s.queue[:n]...)
	s.queue = slices.Clone(s.queue[n:])
}

// process lets the server process the next message that is written.
func (s *stream) process(i *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i.processed = true
	s.say(i.m, "received")
	s.received = append(s.received, i.m.ID)
}

// onStream gives the ids of what is written or waits for it, in order.
func (s *stream) onStream() (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range slices.Concat(s.written, s.queue) {
		ids = append(ids, i.m.ID)
	}
	return ids
}

// tell gives a message its outcome.
func (s *stream) tell(id string, status message.Status, err error) {
	s.t.Helper()
	s.write(math.MaxInt)
	s.mu.Lock()
	written := slices.Clone(s.written)
	s.mu.Unlock()
	at := slices.IndexFunc(written, func(i *item) bool { return i.m.ID == id })
	if at < 0 {
		s.t.Errorf("%s is not on the stream, but %v", id, s.onStream())
		return
	}
	i := written[at]
	if err == nil && !i.processed {
		s.process(i)
	}
	s.resolve(i, message.Outcome{Status: status, Err: err})
}

// deliver delivers all that was submitted so far.
func (s *stream) deliver() {
	s.t.Helper()
	for _, id := range s.onStream() {
		s.tell(id, message.Delivered, nil)
	}
}

// resolve tells an outcome.
func (s *stream) resolve(i *item, o message.Outcome) {
	s.mu.Lock()
	same := func(other *item) bool { return other == i }
	s.written, s.queue = slices.DeleteFunc(s.written, same), slices.DeleteFunc(s.queue, same)
	delete(s.keys, keyOf(i.m))
	dead := s.dead
	s.mu.Unlock()
	s.say(i.m, "told "+describe(o))
	if !dead {
		i.told(o.Status, o.Err)
	}
}

// cut ends the stream. What waits and was not kept waits for the next one, where
// that is coming soon.
func (s *stream) cut(resuming bool) {
	s.mu.Lock()
	written := slices.Clone(s.written)
	s.mu.Unlock()
	for _, i := range written {
		s.resolve(i, message.Outcome{Err: cutOff()})
	}
	s.mu.Lock()
	s.up, s.resuming = false, resuming
	waiting := slices.Clone(s.queue)
	s.mu.Unlock()
	s.notify()
	for _, i := range waiting {
		if i.m.Kept || !resuming {
			s.resolve(i, message.Outcome{Err: down()})
		}
	}
}

// connect begins another stream.
func (s *stream) connect() {
	s.mu.Lock()
	s.up = true
	s.mu.Unlock()
	s.notify()
}

func (s *stream) notify() {
	if s.changed != nil {
		s.changed()
	}
}

// giveUp ends everything without a word, as a crash of ours does.
func (s *stream) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
}

func (s *stream) receivedIDs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.received)
}

func (s *stream) String() string {
	return fmt.Sprintf("on stream %v, received %v", s.onStream(), s.receivedIDs())
}
