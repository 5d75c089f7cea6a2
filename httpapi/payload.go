package httpapi

import (
	"net/http"
	"net/url"
	"strings"

	"posthorn/internal/fault"
	"posthorn/internal/render"
)

// readPayload finds what a tool has sent: a value as ParseJSON gives it, or text. Tools
// send JSON under many types, and in fields of forms; a form without such a field is an
// object of its fields.
func (x *exchange) readPayload(template string, body []byte) (any, error) {
	if err := x.checkCoding(); err != nil {
		return nil, err
	}
	if x.r.Method == http.MethodGet {
		return readQueryPayload(x.r.URL.Query())
	}
	contentType, _, err := single(x.r.Header, "Content-Type")
	if err != nil {
		return nil, err
	}
	media, params := parseContentType(contentType)
	c, err := findCharset(params["charset"])
	if err != nil {
		return nil, err
	}
	if media == "multipart/form-data" {
		values, err := multipartValues(body, params["boundary"], c)
		if err != nil {
			return nil, err
		}
		return formPayload(values)
	}
	text, err := c.decode("the payload", body)
	switch {
	case err != nil:
		return nil, err
	case looksLikeJSON(text):
		return jsonOr(text, media == "application/json")
	case media == "application/json":
		return parsePayload(text)
	case media == "application/x-www-form-urlencoded" && template != "ntfy": // whose clients say so of any text
		return readFormPayload(text, c)
	}
	return text, nil
}

func looksLikeJSON(text string) bool {
	text = strings.TrimLeft(text, " \t\r\n")
	return text != "" && (text[0] == '{' || text[0] == '[')
}

// jsonOr gives the value that text is. What is no JSON and need not be is text.
func jsonOr(text string, declared bool) (any, error) {
	value, err := parsePayload(text)
	if err != nil && !declared {
		return text, nil
	}
	return value, err
}

func parsePayload(text string) (any, error) {
	value, err := render.ParseJSON(text)
	if err != nil {
		return nil, fault.Wrap(err, fault.Malformed, "the payload is no JSON: %v", err)
	}
	return value, nil
}

// readQueryPayload is for who can do nothing but GET.
func readQueryPayload(query url.Values) (any, error) {
	text := query.Get("payload")
	if looksLikeJSON(text) {
		return parsePayload(text)
	}
	return text, nil
}

// readFormPayload reads a form; what is none is text.
func readFormPayload(text string, c charset) (any, error) {
	values := make(url.Values)
	for pair := range strings.SplitSeq(text, "&") {
		rawName, rawValue, assigned := strings.Cut(pair, "=")
		if !assigned || strings.ContainsAny(rawName, " \t\r\n") {
			return text, nil
		}
		name := string(unescape(rawName))
		value, err := c.decode(name, unescape(rawValue))
		if err != nil {
			return nil, err
		}
		values.Add(name, value)
	}
	return formPayload(values)
}

// formPayload takes the JSON of the field in which tools put it.
func formPayload(values url.Values) (any, error) {
	for _, name := range [...]string{"payload", "data"} {
		if text := values.Get(name); looksLikeJSON(text) {
			return parsePayload(text)
		}
	}
	object := make(map[string]any)
	for name, all := range values {
		object[name] = all[0]
	}
	return object, nil
}
