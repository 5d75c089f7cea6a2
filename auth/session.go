package auth

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"

	"gosrc.io/xmpp/stanza"

	"posthorn/internal/stream"
)

// Features and SASL take a few kilobytes; certificates count too, where TLS
// begins later. What is longer is not the start of a stream.
const (
	maxElementBytes    = 64 << 10
	maxElementDepth    = 16
	maxConnectionBytes = 512 << 10
)

const (
	nsTLS            = "urn:ietf:params:xml:ns:xmpp-tls"
	nsStreamErrors   = "urn:ietf:params:xml:ns:xmpp-streams"
	nsChannelBinding = "urn:xmpp:sasl-cb:0"
)

// A session is a stream to one server, up to the features that offer SASL. It
// is for one goroutine.
type session struct {
	conn     net.Conn // inside TLS, once that has begun
	in       *stream.Reader
	domain   string
	address  string
	tls      *tls.ConnectionState // nil without TLS
	features *stream.Element
	told     bool        // the server has got credentials: what it writes now may repeat them
	release  func() bool // ends the watch on the context
}

// newSession takes over conn. All that the session reads and writes ends with
// ctx.
func newSession(ctx context.Context, conn net.Conn, domain, address string) *session {
	s := &session{conn: newConn(conn), domain: domain, address: address}
	s.release = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(aLongTimeAgo) })
	return s
}

// close ends the stream without waiting for the server's end of it.
func (s *session) close() {
	if s.in != nil {
		_, _ = io.WriteString(s.conn, stanza.StreamClose)
	}
	s.release()
	_ = s.conn.Close()
}

// negotiate leads the stream to the features that offer SASL.
func (s *session) negotiate(ctx context.Context, mode TLSMode, config *tls.Config) error {
	if mode == DirectTLS {
		config.NextProtos = []string{"xmpp-client"} // XEP-0368 §4
		if err := s.startTLS(ctx, config); err != nil {
			return err
		}
	}
	if err := s.begin(); err != nil || mode != StartTLS {
		return err
	}
	if err := s.askForTLS(); err != nil {
		return err
	}
	if err := s.startTLS(ctx, config); err != nil {
		return err
	}
	return s.begin()
}

// begin opens a stream and reads the features (RFC 6120 §4.3). No from is
// sent: before TLS it would tell everybody who logs in (§4.7.1), and after it
// nobody needs it.
func (s *session) begin() error {
	s.in = stream.NewReader(s.conn, stream.Limits{Size: maxElementBytes, Depth: maxElementDepth})
	var to bytes.Buffer
	_ = xml.EscapeText(&to, []byte(s.domain))
	if err := s.send("<?xml version='1.0'?><stream:stream xmlns='" + stanza.NSClient + "' xmlns:stream='" + stanza.NSStream +
		"' to='" + to.String() + "' version='1.0'>"); err != nil {
		return err
	}
	if _, err := s.in.Open(); err != nil {
		return s.fail(Broken, fmt.Errorf("stream header: %w", err))
	}
	features, err := s.next()
	if err != nil {
		return err
	}
	if features.Name != (xml.Name{Space: stanza.NSStream, Local: "features"}) {
		return s.unexpected(features, "the stream's features")
	}
	s.features = features
	return nil
}

// askForTLS sends <starttls/> (RFC 6120 §5.4.2). A server that does not offer
// it gets nothing more.
func (s *session) askForTLS() error {
	if s.features.Child(nsTLS, "starttls") == nil {
		return s.fail(TLSFailed, errors.New("STARTTLS is not offered"))
	}
	if err := s.send("<starttls xmlns='" + nsTLS + "'/>"); err != nil {
		return err
	}
	answer, err := s.next()
	if err != nil {
		return err
	}
	if answer.Name != (xml.Name{Space: nsTLS, Local: "proceed"}) {
		return s.fail(TLSFailed, fmt.Errorf("STARTTLS was answered with <%s>", shorten(answer.Name.Local)))
	}
	// RFC 6120 §5.4.3.3: nothing may follow <proceed/> in clear. It would be
	// an attacker's, taken for what the server says inside TLS.
	if n := s.in.Buffered(); n > 0 {
		return s.fail(TLSFailed, fmt.Errorf("%d bytes in clear after <proceed/>", n))
	}
	return nil
}

// startTLS verifies the certificate and moves the session inside.
func (s *session) startTLS(ctx context.Context, config *tls.Config) error {
	conn := tls.Client(s.conn, config)
	s.in = nil // its stream ends here, and close has none to end if this fails
	if err := conn.HandshakeContext(ctx); err != nil {
		return s.fail(TLSFailed, fmt.Errorf("TLS: %w", err))
	}
	state := conn.ConnectionState()
	s.conn, s.tls = conn, &state
	return nil
}

func (s *session) send(text string) error {
	if _, err := io.WriteString(s.conn, text); err != nil {
		return s.fail(Broken, err)
	}
	return nil
}

// next reads one element. A stream error is an error.
func (s *session) next() (*stream.Element, error) {
	e, err := s.in.Next()
	if err == io.EOF {
		return nil, s.fail(Broken, errors.New("the server closed the stream"))
	}
	if err != nil {
		return nil, s.fail(Broken, err)
	}
	if e.Name != (xml.Name{Space: stanza.NSStream, Local: "error"}) {
		return e, nil
	}
	condition, text := e.Condition(nsStreamErrors)
	reason := NotNow
	switch condition {
	case "host-unknown": // RFC 6120 §4.9.3.6
		reason = HostUnknown
	case "invalid-namespace": // §4.9.3.10: ejabberd's port for components (23.01, 2026-11)
		reason = Broken
	}
	if s.told {
		text = ""
	}
	return nil, s.fail(reason, fmt.Errorf("stream error %s %s", shorten(condition), shorten(text)))
}

func (s *session) unexpected(e *stream.Element, wanted string) error {
	return s.fail(Broken, fmt.Errorf("<%s> instead of %s", shorten(e.Name.Local), wanted))
}

// fail makes a ProbeError, unless err is sorted more exactly by itself.
func (s *session) fail(reason Reason, err error) error {
	return &ProbeError{reasonOf(err, reason), s.address, err}
}
