package xmpptest

import (
	"bufio"
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// A Message is a stanza as a client received it: mostly a message, from
// Query an IQ, from ReceiveOther anything else. For a carbon (XEP-0280) the
// fields are those of the message inside.
type Message struct {
	Name             string // message, presence or iq
	From, To         string
	Type, ID, Lang   string // as sent: no type is ""
	Body             string
	Subject, Thread  string
	OriginID         string // XEP-0359
	StanzaID         string // XEP-0359, given by the recipient's archive
	OOB              string // XEP-0066, the URL
	XHTML            string // XEP-0071, what <html/> holds
	Replace          string // XEP-0308, the id of the message it corrects
	Delay            string // XEP-0203, the stamp
	Carbon           string // "sent" or "received" for a carbon, else ""
	ErrorKind, Error string // RFC 6120 §8.3: the error's type and its condition
	Raw              string // the whole element as it came, a carbon's wrapper too
}

// header stands for the stream header that the login has read: it binds the
// namespaces of what follows.
const header = `<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>`

// read takes stanzas from the stream until it ends, and is the only reader.
func (c *Client) read() {
	c.err = c.readAll()
	close(c.messages)
	close(c.others)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, waiting := range c.answers {
		close(waiting)
	}
	c.answers = nil
}

func (c *Client) readAll() error {
	source := &recorder{r: bufio.NewReaderSize(io.MultiReader(strings.NewReader(header), c.conn), 1<<16)}
	decoder := xml.NewDecoder(source)
	if _, err := decoder.Token(); err != nil {
		return err
	}
	source.take()
	for {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.EndElement:
			return errors.New("the server ended the stream")
		case xml.StartElement:
			if err := c.stanza(decoder, t, source); err != nil {
				return err
			}
		}
	}
}

// stanza decodes one element and hands it to whoever waits for it.
//
// A host with mod_privilege greets every user who logs in with a message that
// lists the user's privileges, none (Prosody 0.12, 2026-11). To a test that
// counts messages it is none.
func (c *Client) stanza(d *xml.Decoder, start xml.StartElement, source *recorder) error {
	var s stanza
	if err := d.DecodeElement(&s, &start); err != nil {
		return err
	}
	m := s.message()
	m.Raw = source.take()
	switch {
	case m.Name == "error":
		return errors.New("stream error: " + m.Raw)
	case m.Name == "message" && s.Grant == nil:
		select {
		case c.messages <- m:
		case <-c.closing:
		}
	case m.Name == "iq" && c.answer(m):
	default:
		select {
		case c.others <- m:
		default:
		}
	}
	return nil
}

// await registers who wants the answer to an IQ; nil forgets it. After the end
// of the stream there will be none, and answer is closed.
func (c *Client) await(id string, answer chan Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case answer == nil:
		delete(c.answers, id)
	case c.answers == nil:
		close(answer)
	default:
		c.answers[id] = answer
	}
}

// answer hands on the answer to a query of ours, once.
func (c *Client) answer(m Message) bool {
	if m.Type != "result" && m.Type != "error" {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	waiting, ok := c.answers[m.ID]
	if ok {
		waiting <- m
		delete(c.answers, m.ID)
	}
	return ok
}

// A recorder keeps the bytes that the decoder has read since take. It reads
// byte by byte, so that the decoder never runs ahead of the element.
type recorder struct {
	r    *bufio.Reader
	kept []byte
}

func (s *recorder) ReadByte() (byte, error) {
	b, err := s.r.ReadByte()
	if err == nil {
		s.kept = append(s.kept, b)
	}
	return b, err
}

// Read is never called, as the decoder prefers ReadByte, but makes a recorder
// an io.Reader.
func (s *recorder) Read([]byte) (int, error) {
	return 0, errors.New("xmpptest: recorder reads bytes only")
}

// take gives what was kept, and begins anew.
func (s *recorder) take() string {
	text := strings.TrimSpace(string(s.kept))
	s.kept = s.kept[:0]
	return text
}

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s))
	return b.String()
}
