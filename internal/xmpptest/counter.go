package xmpptest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// A Counter is a user who is logged in and counts the messages that come,
// without looking at them: for benchmarks, where the recipient takes its
// processor time from those who are measured.
type Counter struct {
	conn  net.Conn
	count atomic.Int64
	done  chan struct{} // closed by read when the stream has ended
	err   error         // why it ended; readable after done is closed
}

// Count logs in as Login does, and counts from then on.
func Count(ctx context.Context, o LoginOptions) (*Counter, error) {
	session, err := negotiate(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("xmpptest: login %s: %w", o.JID, err)
	}
	c := &Counter{conn: session.Conn(), done: make(chan struct{})}
	if err := c.introduce(ctx); err != nil {
		c.conn.Close()
		return nil, fmt.Errorf("xmpptest: login %s: %w", o.JID, err)
	}
	go c.read()
	return c, nil
}

// Count logs in to this server, with STARTTLS.
func (s *Server) Count(ctx context.Context, jid, password string) (*Counter, error) {
	return Count(ctx, LoginOptions{JID: jid, Password: password, Address: s.ClientAddress, RootCAs: s.CA.Pool()})
}

// introduce says that the user is there, and waits until the server has taken
// note: its answer to the ping comes after that, and after what greets a user.
func (c *Counter) introduce(ctx context.Context) error {
	abort := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Unix(1, 0)) })
	defer abort()
	const hello = `<presence/><iq type='get' id='counting'><ping xmlns='urn:xmpp:ping'/></iq>`
	if _, err := io.WriteString(c.conn, hello); err != nil {
		return err
	}
	var heard []byte
	for buf := make([]byte, 4096); !bytes.Contains(heard, []byte("counting")); {
		n, err := c.conn.Read(buf)
		if err != nil {
			return fmt.Errorf("after %q: %w", heard, err)
		}
		heard = append(heard, buf[:n]...)
	}
	return nil
}

func (c *Counter) read() {
	defer close(c.done)
	messages := NewScanner("<message ")
	for buf := make([]byte, 64<<10); ; {
		n, err := c.conn.Read(buf)
		c.count.Add(int64(messages.Count(buf[:n])))
		if err != nil {
			c.err = err
			return
		}
	}
}

// Received is how many messages have come.
func (c *Counter) Received() int { return int(c.count.Load()) }

// Await returns when n messages have come in all, and says how many there are
// when ctx ends before, or the stream.
func (c *Counter) Await(ctx context.Context, n int) error {
	err := Poll(ctx, func() bool {
		select {
		case <-c.done:
			return true
		default:
			return c.Received() >= n
		}
	})
	if got := c.Received(); got != n {
		return errors.Join(fmt.Errorf("xmpptest: received %d messages, not %d", got, n), err, c.ended())
	}
	return nil
}

func (c *Counter) ended() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Close logs out and waits for the reader.
func (c *Counter) Close() {
	c.conn.SetWriteDeadline(time.Now().Add(time.Second))
	io.WriteString(c.conn, "</stream:stream>")
	c.conn.Close()
	<-c.done
}

// A Scanner counts a pattern in bytes that come in pieces. Escaped text has no
// "<", so a start tag's beginning is nothing else.
type Scanner struct {
	pattern []byte
	tail    []byte // the end of the last piece, shorter than the pattern
}

// NewScanner makes a Scanner for a pattern that does not overlap itself.
func NewScanner(pattern string) *Scanner { return &Scanner{pattern: []byte(pattern)} }

// Count gives how many more there are, now that piece has come.
func (s *Scanner) Count(piece []byte) int {
	most := len(s.pattern) - 1
	seam := append(s.tail, piece[:min(most, len(piece))]...)
	n := bytes.Count(seam, s.pattern) + bytes.Count(piece, s.pattern)
	if len(piece) >= most {
		s.tail = append(s.tail[:0], piece[len(piece)-most:]...)
	} else {
		s.tail = append(s.tail[:0], seam[max(0, len(seam)-most):]...)
	}
	return n
}
