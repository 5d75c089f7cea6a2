// Package stream reads an XML stream (RFC 6120 §4) element by element, within
// limits, such that nothing inside one element can spoil the next.
//
//  1. The bytes of one top-level element are framed: tags are counted, quotes,
//     comments and CDATA minded, nothing is decoded. What is too large or too
//     deep is read to its end and dropped.
//  2. Those bytes alone, after the stream's header for its namespaces, are
//     decoded. What does not decode is dropped.
//
// A decoder on the connection itself would not do: after an error there is no
// skipping on it, so one stranger's stanza would end everybody's stream.
//
// The package does not write, dial or negotiate.
package stream

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"

	"gosrc.io/xmpp/stanza"
)

// Limits bound one top-level element.
type Limits struct {
	Size  int // bytes
	Depth int // nested elements, the top-level one included
}

// A DropError says that one element was skipped. The stream goes on.
type DropError struct {
	Reason DropReason
	Err    error // why it does not decode; may be nil
}

// A DropReason is a metric label: the list is closed.
type DropReason string

const (
	DropSize   DropReason = "size"
	DropDepth  DropReason = "depth"
	DropSyntax DropReason = "syntax"
)

func (e *DropError) Error() string {
	if e.Err == nil {
		return "stream: element dropped: " + string(e.Reason)
	}
	return fmt.Sprintf("stream: element dropped: %s: %v", e.Reason, e.Err)
}

func (e *DropError) Unwrap() error { return e.Err }

// ErrRestricted is a document type declaration, which no XMPP peer may send
// (RFC 6120 §11.1). It ends the stream, because what follows it cannot be
// framed without reading it.
var ErrRestricted = errors.New("stream: restricted XML")

// A Reader reads one stream. It is for one goroutine.
type Reader struct {
	in     *bufio.Reader
	limits Limits
	piece  []byte // what the current frame has so far, reused
	over   bool   // piece was cut at limits.Size

	// Set by Open.
	header   []byte   // the stream's start tag
	space    string   // the default namespace that it declares
	prefixes [][]byte // those that it declares, with their colons
}

// NewReader reads from in, in which nothing of the stream was read before.
func NewReader(in io.Reader, limits Limits) *Reader {
	return &Reader{in: bufio.NewReader(in), limits: limits}
}

// Buffered is how many bytes were read from the connection and not used yet.
// Before TLS starts there may be none: they would be an attacker's, taken for
// the server's (RFC 6120 §5.4.3.3).
func (r *Reader) Buffered() int { return r.in.Buffered() }

// Open reads the stream's header and gives its id (RFC 6120 §4.7.3).
func (r *Reader) Open() (id string, err error) {
	r.reset()
	for {
		kind, err := r.markup()
		if err != nil {
			return "", err
		}
		if kind == startTag {
			break
		}
		r.reset()
	}
	if r.over {
		return "", &DropError{Reason: DropSize}
	}
	r.header = bytes.Clone(r.piece)
	if err := r.readNamespaces(); err != nil {
		return "", err
	}
	return stanza.InitStream(xml.NewDecoder(bytes.NewReader(r.header)))
}

// readNamespaces reads what the header declares (Namespaces in XML 1.0 §3).
func (r *Reader) readNamespaces() error {
	start, err := nextStart(xml.NewDecoder(bytes.NewReader(r.header)))
	if err != nil {
		return err
	}
	for _, a := range start.Attr {
		switch {
		case a.Name.Space == "" && a.Name.Local == "xmlns":
			r.space = a.Value
		case a.Name.Space == "xmlns":
			r.prefixes = append(r.prefixes, []byte(a.Name.Local+":"))
		}
	}
	return nil
}

// Next reads one top-level element. The error is io.EOF when the peer closed
// its stream with an end tag, a *DropError when this element alone is lost,
// and otherwise the connection's.
func (r *Reader) Next() (*Element, error) {
	piece, err := r.frame()
	if err != nil {
		return nil, err
	}
	element, err := r.decode(piece)
	if err != nil {
		return nil, &DropError{DropSyntax, err}
	}
	return element, nil
}

// NextPacket reads one top-level element as package stanza knows it. It is
// for the negotiation alone, where the server speaks and no stranger can.
func (r *Reader) NextPacket() (stanza.Packet, error) {
	piece, err := r.frame()
	if err != nil {
		return nil, err
	}
	d := r.afterHeader(piece)
	if _, err := stanza.InitStream(d); err != nil {
		return nil, err
	}
	return stanza.NextPacket(d)
}

// afterHeader decodes the header and piece.
func (r *Reader) afterHeader(piece []byte) *xml.Decoder {
	return xml.NewDecoder(io.MultiReader(bytes.NewReader(r.header), bytes.NewReader(piece)))
}

// decode builds the element that piece is, in the namespaces of the header. One
// that uses none of its prefixes needs no more of it than the default namespace:
// the header would take half of the time.
func (r *Reader) decode(piece []byte) (*Element, error) {
	if !slices.ContainsFunc(r.prefixes, func(p []byte) bool { return bytes.Contains(piece, p) }) {
		d := xml.NewDecoder(bytes.NewReader(piece))
		d.DefaultSpace = r.space
		return decode(d)
	}
	d := r.afterHeader(piece)
	if _, err := nextStart(d); err != nil {
		return nil, err
	}
	return decode(d)
}

// frame gives the bytes of the next top-level element. They are valid until
// the next call.
func (r *Reader) frame() ([]byte, error) {
	r.reset()
	tooDeep := false
	for depth := 0; ; {
		kind, err := r.markup()
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF // the connection ended, the stream did not
			}
			return nil, err
		}
		switch kind {
		case startTag:
			depth++
			tooDeep = tooDeep || depth > r.limits.Depth
		case emptyTag:
			tooDeep = tooDeep || depth == r.limits.Depth
		case endTag:
			if depth == 0 {
				return nil, io.EOF
			}
			depth--
		}
		switch {
		case depth > 0:
			continue
		case kind == otherMarkup:
			r.reset()
		case tooDeep:
			return nil, &DropError{Reason: DropDepth}
		case r.over:
			return nil, &DropError{Reason: DropSize}
		default:
			return r.piece, nil
		}
	}
}

func (r *Reader) reset() { r.piece, r.over = r.piece[:0], false }

type markupKind int

const (
	startTag markupKind = iota
	endTag
	emptyTag    // <a/>
	otherMarkup // a comment, CDATA section or processing instruction
)

// markup reads text up to the next markup and that markup, into piece. Text
// between top-level elements (the whitespace of RFC 6120 §4.6.1) is not kept.
func (r *Reader) markup() (markupKind, error) {
	if err := r.text(); err != nil {
		return 0, err
	}
	first, err := r.next()
	if err != nil {
		return 0, err
	}
	switch first {
	case '/':
		return endTag, r.until(">")
	case '?':
		return otherMarkup, r.until("?>")
	case '!':
		return otherMarkup, r.declaration()
	}
	return r.startTag(first)
}

func (r *Reader) text() error {
	outside := len(r.piece) == 0 && !r.over
	for {
		b, err := r.in.ReadByte()
		if err != nil {
			return err
		}
		if !outside || b == '<' {
			r.keep(b)
		}
		if b == '<' {
			return nil
		}
	}
}

// startTag reads a start tag from its second byte on.
func (r *Reader) startTag(b byte) (markupKind, error) {
	var quote, before byte
	for {
		switch {
		case quote != 0:
			if b == quote {
				quote = 0
			}
		case b == '"' || b == '\'':
			quote = b
		case b == '>' && before == '/':
			return emptyTag, nil
		case b == '>':
			return startTag, nil
		}
		before = b
		var err error
		if b, err = r.next(); err != nil {
			return 0, err
		}
	}
}

// declaration reads what follows "<!".
func (r *Reader) declaration() error {
	b, err := r.next()
	switch {
	case err != nil:
		return err
	case b == '-':
		if b, err = r.next(); err == nil && b != '-' {
			err = ErrRestricted
		}
		if err != nil {
			return err
		}
		return r.until("-->")
	case b == '[':
		return r.until("]]>")
	}
	return ErrRestricted
}

// until reads up to and including end.
func (r *Reader) until(end string) error {
	var tail [3]byte // the last bytes read
	window := tail[3-len(end):]
	for string(window) != end {
		b, err := r.next()
		if err != nil {
			return err
		}
		copy(window, window[1:])
		window[len(window)-1] = b
	}
	return nil
}

func (r *Reader) next() (byte, error) {
	b, err := r.in.ReadByte()
	if err == nil {
		r.keep(b)
	}
	return b, err
}

func (r *Reader) keep(b byte) {
	if len(r.piece) == r.limits.Size {
		r.over = true
		return
	}
	r.piece = append(r.piece, b)
}
