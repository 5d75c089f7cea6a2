package httpapi

import (
	"mime"
	"net/http"
	"slices"
	"strings"

	"posthorn/internal/fault"
)

// readFields makes fields of a request: of its body first, then of its path,
// then, where the body is text, of its query, and at last of its headers.
func (x *exchange) readFields(t target, body []byte) (fields, error) {
	if t.page == hookPage {
		return x.readHook(t, body)
	}
	if err := x.checkCoding(); err != nil {
		return fields{}, err
	}
	contentType, _, err := single(x.r.Header, "Content-Type")
	if err != nil {
		return fields{}, err
	}
	f, err := decodeBody(contentType, body)
	if err != nil {
		if fault.Of(err).Kind == fault.Unsupported {
			x.w.Header().Set("Accept", accepted) // RFC 9110 §15.5.16
		}
		return f, err
	}
	err = x.addAround(&f, t)
	return f, err
}

// addAround adds to the fields of a body what stands around it.
func (x *exchange) addAround(f *fields, t target) error {
	if t.page == restPage && f.kind != "" && f.kind != "message" {
		return fault.New(fault.Unsendable, "kind: %q is not sent, only message is", shorten(f.kind))
	}
	f.addPath(t)
	if f.text && x.r.URL.RawQuery != "" {
		query, _, err := readPairs(x.r.URL.RawQuery, charset{fixed: true})
		if err != nil {
			return err
		}
		f.addQuery(query)
	}
	f.addSubject(x.r.Header)
	return nil
}

// checkCoding refuses what is compressed: a small body could become any size.
func (x *exchange) checkCoding() error {
	for _, coding := range x.r.Header["Content-Encoding"] {
		if !strings.EqualFold(strings.TrimSpace(coding), "identity") {
			x.w.Header().Set("Accept-Encoding", "identity") // RFC 9110 §15.5.16
			return fault.New(fault.Unsupported, "a compressed body is not read: send it without a Content-Encoding")
		}
	}
	return nil
}

// decodeBody reads a body of any of the accepted types.
func decodeBody(contentType string, body []byte) (fields, error) {
	media, params := parseContentType(contentType)
	charset, err := findCharset(params["charset"])
	if err != nil {
		return fields{}, err
	}
	switch media {
	case "text/plain", "":
		return decodeText(body, charset)
	case "application/json":
		text, err := charset.decode("the JSON", body)
		if err != nil {
			return fields{}, err
		}
		return decodeJSON(text)
	case "application/x-www-form-urlencoded":
		return decodeForm(body, charset)
	case "multipart/form-data":
		return decodeMultipart(body, params["boundary"], charset)
	}
	return fields{}, fault.New(fault.Unsupported, "the Content-Type %q is not read: send one of %s", shorten(media), accepted)
}

func decodeText(body []byte, c charset) (fields, error) {
	text, err := c.decode("body", body)
	if err != nil {
		return fields{}, err
	}
	return textFields(text), nil
}

// parseContentType reads the header (RFC 9110 §8.3.1). Where a parameter is
// broken, the two that matter are still looked for, the charset and a form's
// boundary: Prosody's module was as patient.
func parseContentType(header string) (media string, params map[string]string) {
	switch header {
	case "", "text/plain", "application/json", "application/x-www-form-urlencoded":
		return header, nil // what nearly everybody sends
	}
	media, params, err := mime.ParseMediaType(header)
	if err == nil {
		return media, params
	}
	media, rest, _ := strings.Cut(header, ";")
	params = map[string]string{}
	for part := range strings.SplitSeq(rest, ";") {
		name, value, _ := strings.Cut(part, "=")
		switch name = strings.ToLower(strings.TrimSpace(name)); name {
		case "charset":
			params[name] = strings.Trim(value, " \t\"'")
		case "boundary": // in which an apostrophe may stand (RFC 2046 §5.1.1)
			params[name] = strings.Trim(value, " \t\"")
		}
	}
	return strings.ToLower(strings.TrimSpace(media)), params
}

// subjectDecoder reads encoded words in any charset (RFC 2047).
var subjectDecoder = mime.WordDecoder{CharsetReader: wordReader}

// addSubject takes the subject from a header where no field gave one.
func (f *fields) addSubject(header http.Header) {
	if subject, _ := f.first("subject", "title"); subject != "" {
		return
	}
	for _, name := range [...]string{"Title", "Subject"} {
		raw := header.Get(name)
		if raw == "" {
			continue
		}
		subject := text([]byte(raw))
		if decoded, err := subjectDecoder.DecodeHeader(subject); err == nil {
			subject = decoded
		}
		f.values = slices.DeleteFunc(f.values, func(f field) bool { return f.name == "subject" }) // an empty one
		f.set("subject", subject)
		return
	}
}
