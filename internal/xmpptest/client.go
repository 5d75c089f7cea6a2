package xmpptest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"mellium.im/sasl"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
)

// writeTimeout bounds one write of a client; a server that is up takes it at
// once.
const writeTimeout = 10 * time.Second

// inboxSize is how many messages wait for Receive. It holds what the largest
// test sends at once; beyond it the client stops reading, as a slow phone does.
const inboxSize = 1 << 16

// LoginOptions say who logs in, and where.
type LoginOptions struct {
	JID      string // with a resource, or the server chooses one
	Password string
	Address  string // host:port
	TLS      bool   // TLS at once instead of STARTTLS
	RootCAs  *x509.CertPool
	Hidden   bool // send no presence: such a resource gets no messages to the bare JID
	Carbons  bool // ask for copies of what other resources send and get (XEP-0280)
}

// A Client is a user who is logged in. Its methods may be called from several
// goroutines.
type Client struct {
	JID string // with the resource that was bound

	// Immutable after Login.
	conn     net.Conn
	messages chan Message  // read sends, and closes it when the stream ends
	others   chan Message  // read sends, and drops what does not fit
	closing  chan struct{} // closed by Close, so that read does not wait for a full channel
	close    sync.Once
	err      error // why the stream ended; readable after messages is closed

	writing sync.Mutex // one writer at a time on conn

	mu      sync.Mutex
	answers map[string]chan Message // guarded by mu: who awaits the answer to which IQ; nil after the stream's end
}

// Login connects, authenticates, binds a resource and says that it is there.
// When it returns the server has processed the presence, so whatever is sent to
// the user from now on comes to this client.
func Login(ctx context.Context, o LoginOptions) (*Client, error) {
	session, err := negotiate(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("xmpptest: login %s: %w", o.JID, err)
	}
	c := &Client{
		JID:      session.LocalAddr().String(),
		conn:     session.Conn(),
		messages: make(chan Message, inboxSize),
		others:   make(chan Message, 1024), // presences of a room full of people
		closing:  make(chan struct{}),
		answers:  map[string]chan Message{},
	}
	go c.read()
	if err := c.introduce(ctx, o); err != nil {
		c.Close()
		return nil, fmt.Errorf("xmpptest: login %s: %w", o.JID, err)
	}
	return c, nil
}

// negotiate does everything up to and including the resource.
func negotiate(ctx context.Context, o LoginOptions) (*xmpp.Session, error) {
	address, err := jid.Parse(o.JID)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{ServerName: address.Domainpart(), RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", o.Address)
	if err != nil {
		return nil, err
	}
	stream := conn
	if o.TLS {
		stream = tls.Client(conn, config)
	}
	session, err := xmpp.NewClientSession(ctx, address, stream,
		xmpp.StartTLS(config),
		xmpp.SASL("", o.Password, sasl.ScramSha256, sasl.ScramSha1, sasl.Plain),
		bindResource(address.Resourcepart()))
	if err != nil {
		conn.Close()
		return nil, err
	}
	return session, nil
}

// introduce turns carbons on and sends the presence. The last IQ comes back
// after both have been processed, whatever its answer is.
func (c *Client) introduce(ctx context.Context, o LoginOptions) error {
	if o.Carbons {
		answer, err := c.Query(ctx, "set", "", `<enable xmlns='urn:xmpp:carbons:2'/>`)
		if err != nil {
			return err
		}
		if answer.Type != "result" {
			return fmt.Errorf("carbons: %s", answer.Raw)
		}
	}
	if o.Hidden {
		return nil
	}
	if err := c.Send(`<presence/>`); err != nil {
		return err
	}
	_, err := c.Query(ctx, "get", "", `<ping xmlns='urn:xmpp:ping'/>`)
	return err
}

// Send writes the XML as it stands: one stanza, many, or what should be none.
func (c *Client) Send(raw string) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := io.WriteString(c.conn, raw)
	return err
}

// Query sends an IQ of type get or set around the payload, and gives its
// answer, an error too. An empty to means the user's own account.
func (c *Client) Query(ctx context.Context, kind, to, payload string) (Message, error) {
	id := rand.Text()
	answer := make(chan Message, 1) // so that read never waits for us
	c.await(id, answer)
	defer c.await(id, nil)
	if to != "" {
		to = " to='" + escape(to) + "'"
	}
	if err := c.Send("<iq type='" + kind + "' id='" + id + "'" + to + ">" + payload + "</iq>"); err != nil {
		return Message{}, err
	}
	select {
	case m, open := <-answer:
		if !open {
			return Message{}, errors.New("the stream ended before the answer")
		}
		return m, nil
	case <-ctx.Done():
		return Message{}, fmt.Errorf("no answer to %s: %w", payload, context.Cause(ctx))
	}
}

// Receive gives the next message, also one of type error.
func (c *Client) Receive(ctx context.Context) (Message, error) {
	return c.receive(ctx, c.messages)
}

// ReceiveOther gives the next presence, or the next IQ that is no answer to
// Query.
func (c *Client) ReceiveOther(ctx context.Context) (Message, error) {
	return c.receive(ctx, c.others)
}

func (c *Client) receive(ctx context.Context, from <-chan Message) (Message, error) {
	select {
	case m, open := <-from:
		if !open {
			return Message{}, fmt.Errorf("xmpptest: %s: %w", c.JID, c.err)
		}
		return m, nil
	case <-ctx.Done():
		return Message{}, fmt.Errorf("xmpptest: %s received nothing: %w", c.JID, context.Cause(ctx))
	}
}

// Messages is where Receive takes its messages from, for who wants to select.
// It is closed when the stream has ended.
func (c *Client) Messages() <-chan Message { return c.messages }

// Close logs out and waits for the reader. What was not received by then is
// gone.
func (c *Client) Close() {
	c.close.Do(func() {
		close(c.closing)
		// What the server has not taken within a moment it need not hear.
		c.conn.SetWriteDeadline(time.Now().Add(time.Second))
		io.WriteString(c.conn, "</stream:stream>")
		c.conn.Close()
	})
	for range c.messages { // until read closes it
	}
}
