package httpapi

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"

	"posthorn/internal/fault"
)

// A charset reads text that a client encoded. The zero charset is UTF-8.
type charset struct {
	label   string
	encoded encoding.Encoding // nil: UTF-8
	fixed   bool              // in a URL: UTF-8, and no header could name another
}

// findCharset knows the labels of the Encoding Standard, save that ASCII is
// read as UTF-8 rather than as windows-1252: what is more than ASCII then has
// to be UTF-8, as it is meant where old tools name ASCII by habit.
func findCharset(label string) (charset, error) {
	switch strings.ToLower(strings.TrimSpace(label)) {
	case "", "utf-8", "us-ascii", "ascii":
		return charset{}, nil
	}
	encoded, err := htmlindex.Get(label)
	if err != nil || encoded == encoding.Replacement {
		return charset{}, fault.New(fault.Unsupported, "the charset %q is not known: send UTF-8", shorten(label))
	}
	switch encoded {
	case unicode.UTF8:
		return charset{}, nil
	case unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM):
		encoded = unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)
	case unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM):
		encoded = unicode.UTF16(unicode.BigEndian, unicode.UseBOM)
	}
	return charset{label: label, encoded: encoded}, nil
}

// decode gives the text as UTF-8, without the byte order mark of a UTF: in any
// other charset the mark's bytes are letters. Bytes that mean nothing are
// refused, for what is sent is to be what was meant; what names the text in
// the detail.
func (c charset) decode(what string, b []byte) (string, error) {
	if c.encoded == nil {
		b = bytes.TrimPrefix(b, []byte("\ufeff"))
		switch {
		case utf8.Valid(b):
			return string(b), nil
		case c.fixed:
			return "", fault.New(fault.Unsendable, "%s: is not UTF-8: escape its UTF-8 form in the URL", what)
		}
		return "", fault.New(fault.Unsendable, "%s: is not UTF-8: name its charset in the Content-Type", what)
	}
	b, err := c.encoded.NewDecoder().Bytes(b)
	if err != nil || bytes.ContainsRune(b, utf8.RuneError) {
		return "", fault.New(fault.Unsendable, "%s: is not %s, as the Content-Type says", what, c.label)
	}
	return string(b), nil
}

// wordReader reads an encoded word's charset (RFC 2047 §2) for mime.WordDecoder.
func wordReader(label string, in io.Reader) (io.Reader, error) {
	c, err := findCharset(label)
	if err != nil {
		return nil, err
	}
	if c.encoded == nil {
		return unicode.UTF8.NewDecoder().Reader(in), nil
	}
	return c.encoded.NewDecoder().Reader(in), nil
}
