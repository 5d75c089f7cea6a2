package component

import (
	"context"
	"crypto/sha1" // #nosec G505 -- XEP-0114 §3 demands it
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"gosrc.io/xmpp/stanza"

	"posthorn/internal/stream"
)

// readSize and readDepth bound what the server may send in one element. An
// error may carry the message that it is about, with every quote escaped anew
// and HTML of some depth in it, and must not be lost: the barrier after it would
// confirm the message. So MaxStanza may be a quarter of readSize.
const (
	readSize  = 4 * MaxStanzaLimit // bytes
	readDepth = 128
)

// A StreamError ends a stream (RFC 6120 §4.9).
type StreamError struct {
	Condition string
	Text      string
}

func (e *StreamError) Error() string {
	if e.Text == "" {
		return "stream error " + e.Condition
	}
	return fmt.Sprintf("stream error %s (%s)", e.Condition, oneLine(e.Text))
}

// blamesContent reports whether a stream ended because of what was written on
// it (RFC 6120 §4.9.3), and not because of the server's own affairs.
func blamesContent(err error) bool {
	var e *StreamError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Condition {
	case "bad-format", "bad-namespace-prefix", "improper-addressing", "invalid-from", "invalid-namespace", "invalid-xml",
		"not-well-formed", "policy-violation", "restricted-xml", "undefined-condition", "unsupported-encoding", "unsupported-stanza-type":
		return true
	}
	return false
}

// A RefusedError is a no to the handshake that stays the same until somebody
// changes a configuration.
type RefusedError struct{ Err *StreamError }

func (e *RefusedError) Error() string { return "component: handshake refused: " + e.Err.Error() }
func (e *RefusedError) Unwrap() error { return e.Err }

// A lostError is the end of a stream that was up.
type lostError struct {
	err      error
	lived    time.Duration
	poisoned bool // by a message that was in flight
}

func (e *lostError) Error() string { return "component: stream lost: " + e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// replaced reports whether another connection took over the domain after ours
// had shaken hands.
func replaced(err error) bool {
	var e *StreamError
	return errors.As(err, &e) && e.Condition == "conflict" && !errors.As(err, new(*RefusedError))
}

// connect dials and shakes hands (XEP-0114 §3).
func (c *Component) connect(ctx context.Context) (*session, error) {
	if !c.may() {
		return nil, fmt.Errorf("component: %w", errMayNot)
	}
	ctx, cancel := context.WithTimeout(ctx, c.patience.handshake)
	defer cancel()
	conn, err := c.opts.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("component: %w", err)
	}
	conn = stream.QuickACK(conn)
	if c.opts.May != nil {
		conn = &fence{conn, c.opts.May}
	}
	abort := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	reader, err := c.handshake(conn)
	if !abort() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			err = errors.New("component: the server did not finish the handshake in time")
		}
		return nil, err
	}
	return newSession(c, conn, reader), nil
}

func (c *Component) handshake(conn net.Conn) (*stream.Reader, error) {
	var open []byte
	open = append(open, "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'"...)
	open = appendAttr(open, "to", c.opts.Domain)
	if _, err := conn.Write(append(open, '>')); err != nil {
		return nil, fmt.Errorf("component: open the stream: %w", err)
	}
	reader := stream.NewReader(conn, stream.Limits{Size: readSize, Depth: readDepth})
	id, err := reader.Open()
	if err != nil {
		return nil, fmt.Errorf("component: read the stream's header: %w", err)
	}
	digest := sha1.Sum([]byte(id + c.opts.Secret.Reveal())) // #nosec G401 -- XEP-0114 §3 demands it
	// A server that refuses the domain has closed by now, so what this write
	// says is less than what there is to read.
	_, writeErr := io.WriteString(conn, "<handshake>"+hex.EncodeToString(digest[:])+"</handshake>")
	packet, err := reader.NextPacket()
	if err != nil {
		return nil, fmt.Errorf("component: read the handshake's answer: %w", errors.Join(err, writeErr))
	}
	switch packet := packet.(type) {
	case stanza.Handshake:
		return reader, nil
	case stanza.StreamError:
		refusal := &StreamError{packet.Error.Local, packet.Text}
		switch refusal.Condition {
		case "not-authorized", "host-unknown", "conflict":
			return nil, &RefusedError{refusal}
		}
		return nil, fmt.Errorf("component: handshake: %w", refusal)
	}
	return nil, fmt.Errorf("component: unexpected answer %q to the handshake", packet.Name())
}
