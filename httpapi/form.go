package httpapi

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"net/url"
	"os"
	"strings"

	"posthorn/internal/fault"
)

// decodeForm reads application/x-www-form-urlencoded, which curl -d says of
// everything: so JSON is JSON, and what has none of our fields is text.
func decodeForm(body []byte, c charset) (fields, error) {
	if c.encoded == nil {
		body = bytes.TrimPrefix(body, []byte("\ufeff"))
	}
	if start := bytes.TrimLeft(body, " \t\r\n"); len(start) > 0 && start[0] == '{' {
		text, err := c.decode("the JSON", body)
		if err != nil {
			return fields{}, err
		}
		return decodeJSON(text)
	}
	f, found, err := readPairs(string(body), c)
	if err != nil || found {
		return f, err
	}
	if unescaped, ok := unescapeWhole(body); ok {
		if text, err := c.decode("body", unescaped); err == nil {
			return textFields(text), nil
		}
	}
	return decodeText(body, c)
}

// readPairs reads our fields of a form or a query; found: there was one. A word
// without `=` is text rather than an empty field, and so is `password=`, which
// log lines have as well, where it stands alone.
func readPairs(s string, c charset) (f fields, found bool, err error) {
	for pair := range strings.SplitSeq(s, "&") {
		rawName, rawValue, assigned := strings.Cut(pair, "=")
		name := string(unescape(rawName))
		if !assigned || !isField(name) {
			continue
		}
		value, err := c.decode(name, unescape(rawValue))
		if err != nil {
			return f, true, err
		}
		if err := f.add(name, value); err != nil {
			return f, true, err
		}
		found = found || name != "password"
	}
	return f, found, nil
}

// unescape undoes percent-encoding as far as there is any: `curl -d 'body=95%
// full'` is to arrive whole.
func unescape(s string) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			out = append(out, ' ')
		case s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			out = append(out, fromHex(s[i+1])<<4|fromHex(s[i+2]))
			i += 2
		default:
			out = append(out, s[i])
		}
	}
	return out
}

// unescapeWhole undoes what `curl --data-urlencode` does, where that is sure:
// nothing but unreserved characters (RFC 3986 §2.3), `+` and escapes, at least
// one of these, and text behind them.
func unescapeWhole(body []byte) (text []byte, ok bool) {
	escapes := 0
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '%':
			if i+2 >= len(body) || !isHex(body[i+1]) || !isHex(body[i+2]) {
				return nil, false
			}
			escapes++
			i += 2
		case !isUnreserved(c) && c != '+':
			return nil, false
		}
	}
	if escapes == 0 {
		return nil, false
	}
	return unescape(string(body)), true
}

func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// fromHex is the value of a digit that isHex accepts.
func fromHex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}

// maxParts bounds the parts of a multipart body: our fields, as many
// recipients as there may be, and room for what a web page adds.
const maxParts = 256

// decodeMultipart reads multipart/form-data (RFC 7578).
func decodeMultipart(body []byte, boundary string, c charset) (f fields, err error) {
	return f, eachPart(bytes.NewReader(body), boundary, func(part *multipart.Part) error { return f.addPart(part, c) })
}

// multipartValues reads all the fields of multipart/form-data.
func multipartValues(body []byte, boundary string, c charset) (url.Values, error) {
	values := make(url.Values)
	return values, eachPart(bytes.NewReader(body), boundary, func(part *multipart.Part) error {
		text, err := partText(part, c)
		values.Add(part.FormName(), text)
		return err
	})
}

func eachPart(body io.Reader, boundary string, do func(*multipart.Part) error) error {
	if boundary == "" {
		return fault.New(fault.Malformed, "the Content-Type multipart/form-data has no boundary")
	}
	parts := multipart.NewReader(body, boundary)
	for range maxParts + 1 { // the last time for the end
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = do(part)
		}
		if err != nil {
			return partFault(err)
		}
	}
	return fault.New(fault.Unsendable, "the form has more than %d parts", maxParts)
}

// addPart takes the field that a part is. A file is no field, whatever its part is
// called: to send a message without the picture would be to send another one.
func (f *fields) addPart(part *multipart.Part, c charset) error {
	if part.FileName() != "" {
		return fault.New(fault.Unsendable, "the form has a file, and no files are sent from here (http.max_attachment is 0)")
	}
	name := part.FormName()
	if !isField(name) {
		return nil
	}
	text, err := partText(part, c)
	if err != nil {
		return err
	}
	return f.add(name, text)
}

// partText reads a part, which may name its own charset.
func partText(part *multipart.Part, c charset) (string, error) {
	value, err := io.ReadAll(part)
	if err != nil {
		return "", err
	}
	if _, params := parseContentType(part.Header.Get("Content-Type")); params["charset"] != "" {
		if c, err = findCharset(params["charset"]); err != nil {
			return "", err
		}
	}
	return c.decode(part.FormName(), value)
}

// partFault: what is no fault yet is the multipart reader's complaint.
func partFault(err error) error {
	var f *fault.Error
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, os.ErrDeadlineExceeded):
		return tooSlow(err)
	}
	return fault.Wrap(err, fault.Malformed, "the form's parts do not parse, or its end is missing")
}
