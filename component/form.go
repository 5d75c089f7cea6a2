package component

import (
	"slices"
	"strings"

	"posthorn/internal/fault"
	"posthorn/internal/stream"
)

// A Form is what a client shows, to be filled in or as a result (XEP-0004, version
// 2.13.1).
type Form struct {
	Title        string
	Instructions string
	Note         string // beside it, and all of it where there are no fields (XEP-0050 §4.3)
	Fields       []Field

	wrong string // what is wrong with how it was filled in
}

// A Field of a form is named by Var, and Label is for people.
type Field struct {
	Var, Label string
	Type       FieldType
	Required   bool
	Values     []string // what is filled in
	Options    []string // what there is to choose from, in a list
}

// A FieldType says what a field can hold (XEP-0004 §3.3).
type FieldType string

// What posthorn's forms are made of.
const (
	TextSingle FieldType = "text-single"
	TextMulti  FieldType = "text-multi" // a value is a line
	ListSingle FieldType = "list-single"
	ListMulti  FieldType = "list-multi"
)

const (
	nsForms = "jabber:x:data"

	// What a submission may have: more than any form of ours asks for.
	maxFields = 32
	maxValues = 1024
	maxFilled = 64 << 10 // bytes
)

// readSubmission gives the values of the one form in a command, or nil where there is
// none that we could have asked for. Fields of type fixed are for people.
func readSubmission(command *stream.Element) map[string][]string {
	var x *stream.Element
	for _, c := range command.Children {
		switch {
		case c.Name.Space != nsForms || c.Name.Local != "x":
		case x != nil:
			return nil
		default:
			x = c
		}
	}
	if x == nil || x.Attr("type") != "submit" {
		return nil
	}
	values := make(map[string][]string)
	n, size := 0, 0
	for _, field := range x.Children {
		if field.Name.Space != nsForms || field.Name.Local != "field" || field.Attr("type") == "fixed" {
			continue
		}
		name := field.Attr("var")
		if _, twice := values[name]; twice || name == "" || len(values) == maxFields {
			return nil
		}
		filled := []string{}
		for _, v := range field.Children {
			if v.Name.Space == nsForms && v.Name.Local == "value" {
				filled = append(filled, v.Text)
				n, size = n+1, size+len(v.Text)
			}
		}
		if size += len(name); n > maxValues || size > maxFilled {
			return nil
		}
		values[name] = filled
	}
	return values
}

// check gives the values of the form's fields, without what is empty. A field that
// the form does not have is a mistake, although XEP-0004 §3.1 would have it ignored:
// it may be a limit, misspelled.
func (f *Form) check(given map[string][]string) (map[string][]string, error) {
	values := make(map[string][]string)
	for i := range f.Fields {
		field := &f.Fields[i]
		filled, err := field.check(given[field.Var])
		if err != nil {
			return nil, err
		}
		values[field.Var] = filled
	}
	for name := range given {
		if _, known := values[name]; !known {
			return nil, fault.New(fault.Unsendable, "%.40q: is no field of this form", name)
		}
	}
	return values, nil
}

func (f *Field) check(given []string) (values []string, err error) {
	for _, text := range given {
		for line := range strings.Lines(text) { // a text-multi should have one a value, and not every client knows
			if line = strings.TrimSpace(line); line != "" {
				values = append(values, line)
			}
		}
	}
	switch {
	case f.Required && len(values) == 0:
		return nil, fault.New(fault.Unsendable, "%s: is missing", f.Var)
	case len(values) > 1 && (f.Type == TextSingle || f.Type == ListSingle):
		return nil, fault.New(fault.Unsendable, "%s: has to be one", f.Var)
	case (f.Type == ListSingle || f.Type == ListMulti) && slices.ContainsFunc(values, func(v string) bool { return !slices.Contains(f.Options, v) }):
		return nil, fault.New(fault.Unsendable, "%s: has to be of the list, which may have changed", f.Var)
	}
	return values, nil
}

// fill puts into a form what was filled in before.
func (f *Form) fill(given map[string][]string) {
	f.Fields = slices.Clone(f.Fields) // the form may be the commander's own
	for i := range f.Fields {
		if values, ok := given[f.Fields[i].Var]; ok {
			f.Fields[i].Values = values
		}
	}
}

// append writes the notes and the form, of type form or result.
func (f *Form) append(dst []byte, kind string) []byte {
	dst = appendNote(dst, "error", f.wrong)
	dst = appendNote(dst, "info", f.Note)
	if len(f.Fields) == 0 {
		return dst
	}
	dst = append(dst, "<x xmlns='"+nsForms+"'"...)
	dst = appendAttr(dst, "type", kind)
	dst = append(dst, '>')
	dst = appendOptionalText(dst, "title", allowed(f.Title))
	dst = appendOptionalText(dst, "instructions", allowed(f.Instructions))
	for i := range f.Fields {
		dst = f.Fields[i].append(dst)
	}
	return append(dst, "</x>"...)
}

func appendNote(dst []byte, kind, text string) []byte {
	if text == "" {
		return dst
	}
	dst = append(dst, "<note"...)
	dst = appendAttr(dst, "type", kind)
	dst = append(dst, '>')
	dst = appendEscaped(dst, allowed(text))
	return append(dst, "</note>"...)
}

func (f *Field) append(dst []byte) []byte {
	dst = append(dst, "<field"...)
	dst = appendAttr(dst, "var", allowed(f.Var))
	dst = appendAttr(dst, "type", string(f.Type))
	dst = appendAttr(dst, "label", allowed(f.Label))
	dst = append(dst, '>')
	if f.Required {
		dst = append(dst, "<required/>"...)
	}
	for _, value := range f.Values {
		dst = appendOptionalText(dst, "value", allowed(value))
	}
	for _, option := range f.Options {
		dst = append(dst, "<option"...)
		dst = appendAttr(dst, "label", allowed(option))
		dst = append(dst, '>')
		dst = appendOptionalText(dst, "value", allowed(option))
		dst = append(dst, "</option>"...)
	}
	return append(dst, "</field>"...)
}

// allowed puts a mark in the place of what XML cannot have (XML 1.0 §2.2): it would
// end the stream.
func allowed(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == '\ufffe' || r == '\uffff' {
			return '\ufffd'
		}
		return r
	}, text)
}
