package httpapi

import (
	"strconv"
	"strings"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// fieldNames are the fields of a message that a client can give as one string
// each; `to` is apart, because there may be several. Never written to.
var fieldNames = map[string]bool{
	"body": true, "text": true, "message": true, "msg": true, "content": true,
	"subject": true, "title": true,
	"type": true, "thread": true, "id": true, "lang": true, "html": true,
	"oob": true, "replace": true, "nick": true, "password": true, "ttl": true,
}

// bodyNames are what clients call the text; the first that is there counts.
var bodyNames = []string{"body", "text", "message", "msg", "content"}

// fields are what one request asks for: valid UTF-8, otherwise as written.
type fields struct {
	to      []string // one recipient each; nil: none given
	values  []field  // each name once; few, so that a list is cheaper than a map
	oobDesc string
	kind    string // mod_rest's kind of stanza; "": not given
	text    bool   // the body was text, without fields of its own
	about   about
}

// about says what a message is about, as the template of a webhook has it.
type about struct {
	key    string // the same for all messages about one thing; "": it is about nothing
	update bool   // they correct one another, although nobody asked for it
	fresh  bool   // this one does not, but is a message of its own
}

// A field has one of fieldNames.
type field struct{ name, value string }

// textFields are those of a body that is the text itself.
func textFields(text string) fields {
	f := fields{text: true}
	if text != "" {
		f.set("body", text)
	}
	return f
}

func (f *fields) set(name, value string) { f.values = append(f.values, field{name, value}) }

// get gives a field's value, "" where it was not given.
func (f *fields) get(name string) string {
	value, _ := f.first(name)
	return value
}

// first gives the value of the first name that was given.
func (f *fields) first(names ...string) (value string, given bool) {
	for _, name := range names {
		for _, field := range f.values {
			if field.name == name {
				return field.value, true
			}
		}
	}
	return "", false
}

func (f *fields) has(name string) bool {
	_, given := f.first(name)
	return given
}

// add takes one field of a form. Its name is known, and only `to` may be
// given again.
func (f *fields) add(name, value string) error {
	if name == "to" {
		f.to = append(f.to, splitList(value)...)
		return nil
	}
	if f.has(name) {
		return fault.New(fault.Unsendable, "%s: is given twice", name)
	}
	f.set(name, value)
	return nil
}

// isField reports whether a form's field is one of ours.
func isField(name string) bool { return name == "to" || fieldNames[name] }

// addPath takes the recipients and the type of the path that the body did not
// give.
func (f *fields) addPath(t target) {
	if f.to == nil {
		f.to = t.to
	}
	if t.typ != "" && !f.has("type") {
		f.set("type", t.typ)
	}
}

// addQuery takes the fields of the query that the request did not give.
func (f *fields) addQuery(query fields) {
	if f.to == nil {
		f.to = query.to
	}
	for _, q := range query.values {
		if !f.has(q.name) {
			f.set(q.name, q.value)
		}
	}
}

// splitList splits recipients that are separated by commas.
func splitList(s string) []string {
	return strings.Split(s, ",")
}

// message makes what the fields describe, without sender, recipient and id.
func (f *fields) message() (*message.Message, error) {
	body, _ := f.first(bodyNames...)
	subject, _ := f.first("subject", "title")
	m := &message.Message{
		Body:     message.UnixLines(body),
		Subject:  message.UnixLines(subject),
		ID:       f.get("id"),
		Thread:   f.get("thread"),
		Lang:     f.get("lang"),
		Replace:  f.get("replace"),
		Nick:     f.get("nick"),
		Password: f.get("password"),
		OOB:      message.OOB{URL: f.get("oob"), Desc: message.UnixLines(f.oobDesc)},
	}
	var err error
	if m.Type, err = message.ParseType(f.get("type")); err != nil {
		return nil, fault.New(fault.Unsendable, "%v", err)
	}
	if m.HTML, err = sanitized(f.get("html")); err != nil {
		return nil, err
	}
	m.TTL, err = parseTTL(f.get("ttl"))
	return m, err
}

func sanitized(html string) (string, error) {
	if html == "" {
		return "", nil
	}
	clean, err := message.SanitizeHTML(html)
	if err != nil {
		return "", fault.New(fault.Unsendable, "html: %v", err)
	}
	return clean, nil
}

// parseTTL reads the time for which a message is worth sending; 0: for ever.
func parseTTL(ttl string) (time.Duration, error) {
	if ttl == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(ttl)
	if seconds, numErr := strconv.ParseFloat(ttl, 64); numErr == nil {
		err = nil
		// NaN and what is too large for a Duration fail the comparison.
		if d = 0; seconds > 0 && seconds <= maxTTL.Seconds() {
			d = time.Duration(seconds * float64(time.Second))
		}
	}
	if err != nil || d <= 0 || d > maxTTL {
		return 0, fault.New(fault.Unsendable, "ttl: is neither a time such as 90s or 1h nor a number of seconds")
	}
	return d, nil
}

// maxTTL is a year: whoever writes more has the unit wrong.
const maxTTL = 365 * 24 * time.Hour
