package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

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
	for _, names := range [][]string{bodyNames, {"subject", "title"}, {"type"}, {"id"}, {"lang"}, {"html"}, {"replace"}, {"nick"}} {
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
		text, ok := jsonString(value)
		if !ok {
			return fault.New(fault.Unsendable, "%s: has to be a string", name)
		}
		f.set(name, text)
		return nil
	}
	return nil
}

func jsonString(value json.RawMessage) (text string, ok bool) {
	if len(value) == 0 || value[0] != '"' {
		return "", false
	}
	return text, json.Unmarshal(value, &text) == nil
}

// recipients reads `to`: a string with commas, or an array without.
func (o object) recipients() ([]string, error) {
	value := o.given("to")
	if value == nil {
		return nil, nil
	}
	if list, ok := jsonString(value); ok {
		return splitList(list), nil
	}
	var items []json.RawMessage
	if err := json.Unmarshal(value, &items); err != nil {
		return nil, fault.New(fault.Unsendable, "to: has to be a string or an array of strings")
	}
	to := make([]string, 0, len(items))
	for i, item := range items {
		name, ok := jsonString(item)
		if !ok {
			return nil, fault.New(fault.Unsendable, "to: has to be an array of strings: number %d is none", i+1)
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
	return o.stringInto(f, "ttl")
}

// threadInto takes a string, or mod_rest's object with an id.
func (o object) threadInto(f *fields) error {
	thread, err := o.members("thread", "id")
	if err != nil {
		return err
	}
	if thread == nil {
		return o.stringInto(f, "thread")
	}
	if id, given := thread["id"]; given {
		f.set("thread", id)
	}
	return nil
}

// oobInto takes a string, or mod_rest's object with url and desc.
func (o object) oobInto(f *fields) error {
	oob, err := o.members("oob", "url", "desc")
	if err != nil {
		return err
	}
	if oob == nil {
		return o.stringInto(f, "oob")
	}
	if oob["url"] == "" {
		return fault.New(fault.Unsendable, "oob: has no url")
	}
	f.set("oob", oob["url"])
	f.oobDesc = oob["desc"]
	return nil
}

// members reads strings of a member that is an object; nil: it is none.
func (o object) members(name string, wanted ...string) (map[string]string, error) {
	value := o.given(name)
	if value == nil || value[0] != '{' {
		return nil, nil
	}
	inner, err := readObject(string(value))
	if err != nil {
		return nil, err
	}
	got := make(map[string]string)
	for _, key := range wanted {
		if raw := inner.given(key); raw != nil {
			text, ok := jsonString(raw)
			if !ok {
				return nil, fault.New(fault.Unsendable, "%s: %s has to be a string", name, key)
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
	if kind, ok := jsonString(value); ok || value == nil {
		return kind
	}
	return fmt.Sprintf("%.20s", value)
}
