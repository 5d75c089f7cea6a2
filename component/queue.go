package component

import (
	"sync"

	"posthorn/internal/message"
)

// A queue holds the deliveries that wait for the writer: a line for each sender,
// and another for what was kept of theirs, served in turns, so that who sends a
// thousand messages delays another's one by one. It is bounded, and a line may be no longer than what is still free: there
// is always room for one more sender, however many flood.
type queue struct {
	size    int           // deliveries
	waiting chan struct{} // enough wait; capacity 1, a mark

	// Guarded by mu.
	mu          sync.Mutex
	lines       map[lineKey]*line // none is empty
	first, last *line             // in the order of their turns
	length      int
	enough      int // how many have to wait before the writer is woken
}

type lineKey struct {
	sender message.JID
	kept   bool
}

// A line is what one sender has waiting, in order.
type line struct {
	lineKey
	first, last *delivery
	length      int
	next        *line
}

func newQueue(size int) *queue {
	return &queue{size: size, waiting: make(chan struct{}, 1), lines: make(map[lineKey]*line)}
}

// push appends d to its sender's line. It reports false where that has its
// share already.
func (q *queue) push(d *delivery) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	key := lineKey{d.message.From, d.kept()}
	l := q.lines[key]
	if l != nil && l.length >= q.size-q.length || q.length == q.size {
		return false
	}
	if l == nil {
		l = &line{lineKey: key}
		q.lines[key] = l
		q.append(l)
	}
	if l.first == nil {
		l.first = d
	} else {
		l.last.next = d
	}
	l.last = d
	l.length++
	q.length++
	if q.length >= q.enough {
		notify(q.waiting)
	}
	return true
}

// await leaves a mark in waiting when enough wait. There may be one from before,
// when fewer were enough. Both the writer and the reader change how many are, so
// it is asked with mu held, and the last to ask knows best.
func (q *queue) await(enough func() int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.enough = enough(); q.length >= q.enough {
		notify(q.waiting)
	}
}

// pop takes the delivery whose turn it is, or nil.
func (q *queue) pop() *delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.first
	if l == nil {
		return nil
	}
	d := l.first
	l.first, d.next = d.next, nil
	l.length--
	q.length--
	if q.first = l.next; q.first == nil {
		q.last = nil
	}
	if l.length > 0 {
		q.append(l)
	} else {
		delete(q.lines, l.lineKey)
	}
	return d
}

// removeKept takes out what was kept, each sender's in order.
func (q *queue) removeKept() (removed []*delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.first
	for q.first, q.last = nil, nil; l != nil; {
		next := l.next
		if l.kept {
			removed = append(removed, l.all()...)
			q.length -= l.length
			delete(q.lines, l.lineKey)
		} else {
			q.append(l)
		}
		l = next
	}
	return removed
}

func (l *line) all() (all []*delivery) {
	for d := l.first; d != nil; d = d.next {
		all = append(all, d)
	}
	return all
}

// append gives l the last turn. The caller holds mu.
func (q *queue) append(l *line) {
	l.next = nil
	if q.first == nil {
		q.first = l
	} else {
		q.last.next = l
	}
	q.last = l
}

// len is how many wait.
func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.length
}
