package stream

import (
	"encoding/xml"
	"strings"
)

// An Element is a decoded element with everything inside it.
type Element struct {
	Name     xml.Name
	Attrs    []xml.Attr
	Children []*Element
	Text     string // the character data directly inside, children left out
}

// Attr is the attribute of that name in no namespace. Only those count: a
// peer that matched local names alone would take e:from for from.
func (e *Element) Attr(local string) string {
	for _, a := range e.Attrs {
		if a.Name.Space == "" && a.Name.Local == local {
			return a.Value
		}
	}
	return ""
}

// Child is the first direct child of that name, or nil.
func (e *Element) Child(space, local string) *Element {
	if e == nil {
		return nil
	}
	for _, c := range e.Children {
		if c.Name.Space == space && c.Name.Local == local {
			return c
		}
	}
	return nil
}

// Condition reads what stream errors (RFC 6120 §4.9.2), stanza errors (§8.3.2)
// and SASL failures (§6.4.5) have in common: one empty element that names the
// condition, and perhaps a text, both in one namespace.
func (e *Element) Condition(space string) (condition, text string) {
	if e == nil {
		return "", ""
	}
	for _, c := range e.Children {
		switch {
		case c.Name.Space != space:
		case c.Name.Local == "text":
			text = c.Text
		case condition == "":
			condition = c.Name.Local
		}
	}
	return condition, text
}

// decode builds the next element.
func decode(d *xml.Decoder) (*Element, error) {
	start, err := nextStart(d)
	if err != nil {
		return nil, err
	}
	return build(d, start)
}

func nextStart(d *xml.Decoder) (xml.StartElement, error) {
	for {
		token, err := d.Token()
		if err != nil {
			return xml.StartElement{}, err
		}
		if start, ok := token.(xml.StartElement); ok {
			return start, nil
		}
	}
}

// build recurses no deeper than Limits.Depth, which the framer kept.
func build(d *xml.Decoder, start xml.StartElement) (*Element, error) {
	e := &Element{Name: start.Name, Attrs: start.Attr}
	var text strings.Builder
	for {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			child, err := build(d, token)
			if err != nil {
				return nil, err
			}
			e.Children = append(e.Children, child)
		case xml.CharData:
			text.Write(token)
		case xml.EndElement:
			e.Text = text.String()
			return e, nil
		}
	}
}
