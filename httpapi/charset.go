package httpapi

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"posthorn/internal/fault"
)

// A charset reads text that a client encoded. The zero charset is UTF-8.
type charset struct {
	label   string
	encoded encoding.Encoding // nil: UTF-8
}

// findCharset knows the labels of the Encoding Standard; "" is UTF-8.
func findCharset(label string) (charset, error) {
	if label == "" || strings.EqualFold(label, "utf-8") {
		return charset{}, nil
	}
	encoded, err := htmlindex.Get(label)
	if err != nil || encoded == encoding.Replacement {
		return charset{}, fault.New(fault.Unsupported, "the charset %q is not known: send UTF-8", shorten(label))
	}
	if encoded == unicode.UTF8 {
		return charset{}, nil
	}
	return charset{label, encoded}, nil
}

// decode gives the text as UTF-8, without a byte order mark. Bytes that mean
// nothing are refused, for what is sent is to be what was meant; what names
// the text in the detail.
func (c charset) decode(what string, b []byte) (string, error) {
	if c.encoded == nil {
		b = bytes.TrimPrefix(b, []byte("\ufeff"))
		if !utf8.Valid(b) {
			return "", fault.New(fault.Unsendable, "%s: is not UTF-8: name its charset in the Content-Type", what)
		}
		return string(b), nil
	}
	b, _, err := transform.Bytes(unicode.BOMOverride(c.encoded.NewDecoder()), b)
	if err != nil || bytes.ContainsRune(b, utf8.RuneError) {
		return "", fault.New(fault.Unsendable, "%s: is not %s, as the Content-Type says", what, c.label)
	}
	return strings.TrimPrefix(string(b), "\ufeff"), nil
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
