// Package message is what posthorn sends: the fields, their limits, and the
// rule by which an address is read. It does no I/O.
//
// A Message that Validate accepts can be written into an XML stream as it is:
// every character in it is one that XML 1.0 allows, every address is a JID in
// its one form, and HTML is reduced to well-formed XHTML-IM.
package message

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// A Message is one stanza for one recipient (RFC 6121 §5).
type Message struct {
	From     JID    // bare, and proven to be the sender
	To       JID    // bare or full
	Type     Type   // chat where the sender said nothing
	ID       string // stanza id and XEP-0359 origin-id
	Body     string
	Subject  string
	Thread   string // RFC 6121 §5.2.5
	Lang     string // BCP 47 tag for xml:lang
	HTML     string // XHTML-IM (XEP-0071): the children of its body element, as SanitizeHTML gave them
	OOB      OOB    // XEP-0066
	Replace  string // XEP-0308: the id of the message that this one corrects
	Nick     string // the nickname asked for in a room
	Password string // of the room (XEP-0045 §7.2.6)

	TTL      time.Duration `json:"-"` // for how long it is worth sending; 0: as long as it is kept
	Kept     bool          `json:"-"` // it is on disk, whatever becomes of it
	Accepted time.Time     `json:"-"` // when it was accepted, if it has been late since; else zero
}

// OOB is a URL beside the text (XEP-0066: Out of Band Data).
type OOB struct {
	URL  string
	Desc string
}

// A Type is a message type of RFC 6121 §5.2.2.
type Type string

// The types that a client may ask for.
const (
	Chat      Type = "chat"
	Normal    Type = "normal"
	Headline  Type = "headline"
	GroupChat Type = "groupchat"
)

// ParseType reads the type field. Notification tools put their severities
// there; those mean an ordinary message.
func ParseType(s string) (Type, error) {
	switch s {
	case "", "info", "success", "warning", "failure":
		return Chat, nil
	case string(Chat), string(Normal), string(Headline), string(GroupChat):
		return Type(s), nil
	}
	return "", errors.New("type: is none of chat, normal, headline, groupchat")
}

// Nickname is the name under which a room is asked to show the sender: one of
// their choice shows their own as well, so that nobody can pass for another.
func (m *Message) Nickname() string {
	if m.Nick == "" {
		return m.From.Local()
	}
	return m.Nick + " (" + m.From.Local() + ")"
}

// A Status says how much is known of a message that was not refused.
type Status string

const (
	// Delivered: the server processed the message, would have told of a
	// failure, and did not.
	Delivered Status = "delivered"
	// Routed: the server took the message and tells no more.
	Routed Status = "routed"
	// Kept: the message is on disk, and will be sent or expire visibly.
	Kept Status = "queued"
)

// maxShort bounds the fields that are not text for people, in bytes. The
// texts are bounded by the stanza's size.
const maxShort = 1023

// Validate reports the first field that cannot be sent, by name.
func (m *Message) Validate() error {
	if m.Body == "" {
		return errors.New("body: is missing: send the text as the request's body, or in the field body")
	}
	for _, field := range []struct {
		name, value string
		limit       int // bytes; 0: the stanza's size is the limit
	}{
		{"body", m.Body, 0},
		{"subject", m.Subject, 0},
		{"html", m.HTML, 0},
		{"oob", m.OOB.URL, 0},
		{"oob", m.OOB.Desc, 0},
		{"id", m.ID, maxShort},
		{"thread", m.Thread, maxShort},
		{"lang", m.Lang, maxShort},
		{"replace", m.Replace, maxShort},
		{"nick", m.Nick, maxShort},
		{"password", m.Password, maxShort},
	} {
		if err := CheckText(field.value); err != nil {
			return fmt.Errorf("%s: %w", field.name, err)
		}
		if field.limit > 0 && len(field.value) > field.limit {
			return fmt.Errorf("%s: is longer than %d bytes", field.name, field.limit)
		}
		if field.limit > 0 && strings.ContainsAny(field.value, "\t\r\n") {
			return fmt.Errorf("%s: has to be one line", field.name)
		}
	}
	if m.Type == GroupChat {
		return m.validateForRoom()
	}
	return nil
}

// validateForRoom checks what only a message to a room has.
func (m *Message) validateForRoom() error {
	if !isResource(m.Nickname()) {
		return errors.New("nick: has a character that a nickname cannot have, or is too long")
	}
	if len(m.From.Escaped()) > maxPart {
		return errors.New("your own address is too long for rooms")
	}
	return nil
}

// CheckText reports the first character that XML 1.0 does not allow
// (https://www.w3.org/TR/xml §2.2). A server ends the whole stream when it
// meets one, so none may get there.
func CheckText(s string) error {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return fmt.Errorf("is not UTF-8: wrong byte at offset %d", i)
			}
		}
		if !allowedInXML(r) {
			return fmt.Errorf("has the character U+%04X at byte %d, which XMPP cannot carry: remove it", r, i)
		}
	}
	return nil
}

func allowedInXML(r rune) bool {
	switch {
	case r < 0x20:
		return r == '\t' || r == '\n' || r == '\r'
	case r == 0xFFFE, r == 0xFFFF:
		return false
	}
	return true
}

// UnixLines gives text the line ends that XML keeps: LF alone.
func UnixLines(s string) string {
	if !strings.ContainsRune(s, '\r') {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
}
