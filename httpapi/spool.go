package httpapi

import (
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

const (
	// maxBerths bounds the files that are under way at once, and with them the disk
	// space to as many of the largest ones; ownBerths are one sender's at most, so that
	// who sends slowly does not keep all others waiting.
	maxBerths = 8
	ownBerths = 4
	// berthWait is shorter than what a server gives a request that has sent nothing yet.
	berthWait = 10 * time.Second

	// arrivalTime is what a file may take to arrive, whatever the server gives other
	// requests: 10 MiB at 17 kB/s.
	arrivalTime = 10 * time.Minute
	// answerTime is for what comes after that: the upload (5 min), the questions
	// before it and the confirmation of the message.
	answerTime = 7 * time.Minute
)

// A spooled file has arrived, and is on disk for as long as the request takes. It has no
// name there any more, so that nothing is left of it whatever happens.
type spooled struct {
	message.File
	sum     [sha256.Size]byte // of its content
	content *os.File
	leave   func() // gives up the berth
}

func (s *spooled) close() {
	_ = s.content.Close()
	s.leave()
}

// spool takes in a file, whose size is what was declared. Its sender is proven, and only
// for its sake the connection is given more time than others get.
func (x *exchange) spool(in io.Reader, f message.File) (*spooled, error) {
	leave, err := x.berths.enter(x.r.Context(), x.from)
	if err != nil {
		return nil, err
	}
	x.takeTime()
	s := &spooled{File: f, leave: leave}
	if err := x.takeIn(s, in); err != nil {
		leave()
		return nil, err
	}
	return s, nil
}

func (x *exchange) takeIn(s *spooled, in io.Reader) error {
	limit, err := x.options.Uploads.Limit(x.r.Context(), x.from)
	if err != nil {
		return asFault(err)
	}
	if limit = min(limit, x.options.MaxAttachment); s.Size > limit {
		return x.fileTooLarge(limit)
	}
	if s.content, err = newSpool(x.options.SpoolDir); err != nil {
		return noRoom(err)
	}
	if err := x.fill(s, in, limit); err != nil {
		_ = s.content.Close()
		return err
	}
	return nil
}

// takeTime gives the rest of the request the time that a file needs. Where the server
// cannot (a test's recorder), it has no deadline either.
func (x *exchange) takeTime() {
	now, connection := time.Now(), http.NewResponseController(x.w)
	_ = connection.SetReadDeadline(now.Add(arrivalTime))
	_ = connection.SetWriteDeadline(now.Add(arrivalTime + answerTime))
}

// newSpool makes a file without a name.
func newSpool(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "posthorn-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// fill reads a file to its end, if that comes within the limit.
func (x *exchange) fill(s *spooled, in io.Reader, limit int64) error {
	hash := sha256.New()
	out := &keptError{Writer: io.MultiWriter(s.content, hash)}
	var err error
	s.Size, err = io.Copy(out, io.LimitReader(in, limit))
	if err == nil && s.Size == limit {
		if n, _ := io.ReadFull(in, make([]byte, 1)); n > 0 {
			return x.fileTooLarge(limit)
		}
	}
	switch {
	case out.err != nil:
		return noRoom(out.err)
	case err != nil:
		return x.bodyFault(err)
	case s.Size == 0:
		return fault.New(fault.Unsendable, "the file is empty")
	}
	hash.Sum(s.sum[:0])
	return nil
}

// A keptError tells an error of the disk from one of the connection.
type keptError struct {
	io.Writer
	err error
}

func (k *keptError) Write(p []byte) (n int, err error) {
	n, k.err = k.Writer.Write(p)
	return n, k.err
}

func noRoom(err error) error {
	return fault.Wrap(err, fault.Unavailable, "posthorn has no room for the file now: its administrator finds the reason in its log")
}

func (x *exchange) fileTooLarge(limit int64) error {
	whose := "http.max_attachment"
	if limit < x.options.MaxAttachment {
		whose = "the limit of the XMPP server's upload service"
	}
	return fault.New(fault.TooLarge, "the file is larger than %d bytes (%s)", limit, whose)
}

// berths are where files are taken in and uploaded.
type berths struct {
	mu      sync.Mutex
	taken   int                 // guarded by mu
	of      map[message.JID]int // guarded by mu: how many of them, by sender
	changed chan struct{}       // guarded by mu: closed when one is left
}

func newBerths() *berths {
	return &berths{of: make(map[message.JID]int), changed: make(chan struct{})}
}

// enter waits for a berth, but not for long.
func (b *berths) enter(ctx context.Context, from message.JID) (leave func(), err error) {
	timeout := time.NewTimer(berthWait)
	defer timeout.Stop()
	for {
		changed, taken := b.take(from)
		if taken {
			return func() { b.leave(from) }, nil
		}
		select {
		case <-changed:
		case <-timeout.C:
			return nil, fault.New(fault.Unavailable, "too many files are under way: try again").MayPass()
		case <-ctx.Done():
			return nil, asFault(ctx.Err())
		}
	}
}

func (b *berths) take(from message.JID) (changed <-chan struct{}, taken bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.taken >= maxBerths || b.of[from] >= ownBerths {
		return b.changed, false
	}
	b.taken++
	b.of[from]++
	return nil, true
}

func (b *berths) leave(from message.JID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken--
	if b.of[from]--; b.of[from] == 0 {
		delete(b.of, from)
	}
	close(b.changed)
	b.changed = make(chan struct{})
}
