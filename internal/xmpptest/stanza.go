package xmpptest

import "encoding/xml"

// stanza is what is read of an element; every child is named with its
// namespace, and only direct children count.
type stanza struct {
	XMLName xml.Name
	From    string `xml:"from,attr"`
	To      string `xml:"to,attr"`
	Type    string `xml:"type,attr"`
	ID      string `xml:"id,attr"`
	Lang    string `xml:"http://www.w3.org/XML/1998/namespace lang,attr"`

	Body     string       `xml:"jabber:client body"`
	Subject  string       `xml:"jabber:client subject"`
	Thread   string       `xml:"jabber:client thread"`
	Origin   identified   `xml:"urn:xmpp:sid:0 origin-id"`
	Archived identified   `xml:"urn:xmpp:sid:0 stanza-id"`
	Replace  identified   `xml:"urn:xmpp:message-correct:0 replace"`
	OOB      oob          `xml:"jabber:x:oob x"`
	XHTML    inner        `xml:"http://jabber.org/protocol/xhtml-im html"`
	Delay    delay        `xml:"urn:xmpp:delay delay"`
	Error    *stanzaError `xml:"jabber:client error"`
	Grant    *struct{}    `xml:"urn:xmpp:privilege:2 privilege"`
	Sent     *carbon      `xml:"urn:xmpp:carbons:2 sent"`
	Received *carbon      `xml:"urn:xmpp:carbons:2 received"`
}

type identified struct {
	ID string `xml:"id,attr"`
}

type oob struct {
	URL string `xml:"jabber:x:oob url"`
}

type inner struct {
	XML string `xml:",innerxml"`
}

type delay struct {
	Stamp string `xml:"stamp,attr"`
}

type stanzaError struct {
	Type     string     `xml:"type,attr"`
	Children []children `xml:",any"`
}

type children struct {
	XMLName xml.Name
}

type carbon struct {
	Forwarded struct {
		Message stanza `xml:"jabber:client message"`
	} `xml:"urn:xmpp:forward:0 forwarded"`
}

// message gives the stanza its public shape. A message with two carbons'
// wrappers does not exist.
func (s *stanza) message() Message {
	if s.Sent != nil {
		return s.Sent.message("sent")
	}
	if s.Received != nil {
		return s.Received.message("received")
	}
	m := Message{
		Name: s.XMLName.Local,
		From: s.From, To: s.To, Type: s.Type, ID: s.ID, Lang: s.Lang,
		Body: s.Body, Subject: s.Subject, Thread: s.Thread,
		OriginID: s.Origin.ID, StanzaID: s.Archived.ID, OOB: s.OOB.URL,
		XHTML: s.XHTML.XML, Replace: s.Replace.ID, Delay: s.Delay.Stamp,
	}
	m.ErrorKind, m.Error = s.Error.condition()
	return m
}

func (c *carbon) message(kind string) Message {
	m := c.Forwarded.Message.message()
	m.Carbon = kind
	return m
}

// condition is the first child that is not the text (RFC 6120 §8.3.2).
func (e *stanzaError) condition() (kind, condition string) {
	if e == nil {
		return "", ""
	}
	for _, c := range e.Children {
		if c.XMLName.Space == "urn:ietf:params:xml:ns:xmpp-stanzas" && c.XMLName.Local != "text" {
			return e.Type, c.XMLName.Local
		}
	}
	return e.Type, ""
}
