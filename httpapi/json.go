package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"posthorn/internal/fault"
)

// An object is a JSON object's members by their exact names.
type object map[string]json.RawMessage

// decodeJSON reads an object of fields. Its members are looked at only as far
// as they are used: what else stands in a tool's payload is the tool's.
func decodeJSON(text string) (fields, error) {
	members, err := readObject(text)
	if err != nil {
		return fields{}, err
	}
	var f fields
	if f.to, err = members.recipients(); err != nil {
		return f, err
	}
	for _, names := range [][]string{bodyNames, {"subject", "title"}, {"type"}, {"id"}, {"lang"}, {"html"}, {"replace"}, {"nick"}, {"password"}} {
		if err := members.stringInto(&f, names...); err != nil {
			return f, err
		}
	}
	if err := members.ttlInto(&f); err != nil {
		return f, err
	}
	if err := members.threadInto(&f); err != nil {
		return f, err
	}
	f.kind = members.kind()
	return f, members.oobInto(&f)
}

// readObject reads the members one by one: json.Unmarshal would take names in
// any case, and the last of two alike (RFC 8259 §4 leaves open which counts,
// so a proxy that checked the first would be fooled). Nesting is bounded to
// 10,000 by the decoder.
func readObject(text string) (object, error) {
	d := json.NewDecoder(strings.NewReader(text))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		if err != nil {
			return nil, jsonFault(err)
		}
		return nil, fault.New(fault.Unsendable, "the JSON has to be an object of fields, such as {\"to\": \"user@example.com\", \"body\": \"hello\"}")
	}
	members := make(object)
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, jsonFault(err)
		}
		name, ok := token.(string)
		if !ok {
			return nil, jsonFault(errors.New("a member has no name"))
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, jsonFault(err)
		}
		if _, given := members[name]; given {
			return nil, fault.New(fault.Unsendable, "the JSON has the member %q twice", shorten(name))
		}
		members[name] = value
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return nil, jsonFault(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fault.New(fault.Unsendable, "the JSON has something behind its end")
	}
	return members, nil
}

// jsonFault tells of a syntax error, whose text quotes one character at most.
func jsonFault(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ends too early")
	}
	return fault.New(fault.Malformed, "the JSON does not parse: %v (to send it as it is, say Content-Type: text/plain)", err)
}

// given gives a member's value, nil where it is missing or null.
func (o object) given(name string) json.RawMessage {
	value := o[name]
	if string(value) == "null" {
		return nil
	}
	return value
}

// stringInto sets the first of the names that is there, under its own name.
func (o object) stringInto(f *fields, names ...string) error {
	for _, name := range names {
		value := o.given(name)
		if value == nil {
			continue
		}
		return f.setJSON(name, value, "a string")
	}
	return nil
}

// setJSON sets a field to a string, which is one of the shapes it may have.
func (f *fields) setJSON(name string, value json.RawMessage, shapes string) error {
	text, err := jsonString(name, value, shapes)
	if err == nil {
		f.set(name, text)
	}
	return err
}

// jsonString reads a string, where the member name has to be one of shapes.
func jsonString(name string, value json.RawMessage, shapes string) (text string, err error) {
	if value[0] != '"' || json.Unmarshal(value, &text) != nil {
		return "", fault.New(fault.Unsendable, "%s: has to be %s", name, shapes)
	}
	if hasHalfPair(string(value)) {
		return "", fault.New(fault.Unsendable, `%s: has half a surrogate pair, as \ud83d alone would be: send the whole character`, name)
	}
	return text, nil
}

// hasHalfPair finds a \u escape that is half a character (RFC 8259 §8.2), for
// which json.Unmarshal gives U+FFFD without a word.
func hasHalfPair(quoted string) bool {
	for {
		i := strings.IndexByte(quoted, '\\')
		if i < 0 {
			return false
		}
		quoted = quoted[i:]
		first := escapedUnit(quoted)
		if !utf16.IsSurrogate(first) {
			quoted = quoted[2:]
			continue
		}
		if utf16.DecodeRune(first, escapedUnit(quoted[6:])) == utf8.RuneError {
			return true
		}
		quoted = quoted[12:]
	}
}

// escapedUnit reads the \u escape at the beginning of s; 0: there is none.
func escapedUnit(s string) rune {
	if len(s) < 6 || s[:2] != `\u` {
		return 0
	}
	unit, _ := strconv.ParseUint(s[2:6], 16, 16) // the JSON is valid
	return rune(unit)
}

// recipients reads `to`: a string with commas, or an array without.
func (o object) recipients() ([]string, error) {
	value := o.given("to")
	if value == nil {
		return nil, nil
	}
	if value[0] != '[' {
		list, err := jsonString("to", value, "a string or an array of strings")
		if err != nil {
			return nil, err
		}
		return splitList(list), nil
	}
	var items []json.RawMessage
	if err := json.Unmarshal(value, &items); err != nil {
		return nil, jsonFault(err)
	}
	to := make([]string, 0, len(items))
	for i, item := range items {
		name, err := jsonString(fmt.Sprintf("to: number %d", i+1), item, "a string")
		if err != nil {
			return nil, err
		}
		to = append(to, name)
	}
	return to, nil
}

// ttlInto takes a string or a number, which stands in JSON as in a form.
func (o object) ttlInto(f *fields) error {
	value := o.given("ttl")
	if value == nil {
		return nil
	}
	if c := value[0]; c == '-' || '0' <= c && c <= '9' {
		f.set("ttl", string(value))
		return nil
	}
	return f.setJSON("ttl", value, "a string such as 1h or a number of seconds")
}

// threadInto takes a string, or mod_rest's object with an id.
func (o object) threadInto(f *fields) error {
	value := o.given("thread")
	switch {
	case value == nil:
		return nil
	case value[0] != '{':
		return f.setJSON("thread", value, "a string or an object with an id")
	}
	thread, err := membersOf("thread", value, "id")
	if err != nil {
		return err
	}
	if id, given := thread["id"]; given {
		f.set("thread", id)
	}
	return nil
}

// oobInto takes a string, or mod_rest's object with url and desc.
func (o object) oobInto(f *fields) error {
	value := o.given("oob")
	switch {
	case value == nil:
		return nil
	case value[0] != '{':
		return f.setJSON("oob", value, "a string, the URL, or an object with a url")
	}
	oob, err := membersOf("oob", value, "url", "desc")
	if err != nil {
		return err
	}
	if oob["url"] == "" {
		return fault.New(fault.Unsendable, "oob: has no url")
	}
	f.set("oob", oob["url"])
	f.oobDesc = oob["desc"]
	return nil
}

// membersOf reads strings of a member that is an object.
func membersOf(name string, value json.RawMessage, wanted ...string) (map[string]string, error) {
	inner, err := readObject(string(value))
	if err != nil {
		return nil, err
	}
	got := make(map[string]string)
	for _, key := range wanted {
		if raw := inner.given(key); raw != nil {
			text, err := jsonString(name+": "+key, raw, "a string")
			if err != nil {
				return nil, err
			}
			got[key] = text
		}
	}
	return got, nil
}

// kind is the stanza's kind that mod_rest's clients name. What is no string
// stands for itself, and so for no kind that is known.
func (o object) kind() string {
	value := o.given("kind")
	if value == nil {
		return ""
	}
	if kind, err := jsonString("kind", value, "a string"); err == nil {
		return kind
	}
	return fmt.Sprintf("%.20s", value)
}
