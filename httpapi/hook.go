package httpapi

import (
	"net/url"
	"slices"
	"strings"

	"posthorn/internal/fault"
	"posthorn/internal/render"
)

// maxPayload is what a webhook's body may have at least, in bytes: what is made of it
// is short, but a push of many commits is not.
const maxPayload = 1 << 20

// overrides are the fields that the query of a webhook's URL may give: they are the
// administrator's, and win. The text is the template's. Never written to.
var overrides = [...]string{"type", "subject", "thread", "id", "lang", "oob", "replace", "nick", "password", "ttl"}

// readHook makes fields of a webhook: a template says what of its payload is for people.
// Fields without a body mean that nothing is.
func (x *exchange) readHook(t target, body []byte) (f fields, err error) {
	in := render.Input{Header: x.r.Header.Get, Query: x.r.URL.Query().Get}
	if in.Payload, err = x.readPayload(t.template, body); err != nil {
		return f, err
	}
	if in.Plain, err = x.refuses("emoji"); err != nil {
		return f, err
	}
	name, err := x.template(t, in)
	if err != nil {
		return f, err
	}
	m, err := x.options.Hooks.Render(name, in)
	if fault.Of(err).Kind != fault.NoSuchPage { // which any stranger's path may be
		x.metrics.rendered(m.Body, err)
	}
	if err != nil {
		return f, err
	}
	if f, err = x.renderedFields(m); err != nil {
		return f, err
	}
	f.addPath(t)
	if topic, is := topicOf(in.Payload); is && f.to == nil && name == "ntfy" {
		f.to = []string{topic}
	}
	return f, nil
}

// hookTarget reads a webhook's path: the template, the recipients, and what clients of
// other services put behind the address that they were given: /message those of Gotify,
// a verb those of ntfy, and those of Mattermost a token, which they hold nowhere else.
func hookTarget(path string) (target, error) {
	escaped, to, _ := strings.Cut(path, "/")
	name, err := url.PathUnescape(escaped)
	if err != nil {
		return target{}, fault.Wrap(err, fault.Malformed, "the path has an escape that is none")
	}
	to, token := cutSuffix(name, "/"+to)
	t, err := pathTarget(hookPage, "", to)
	t.template, t.token = name, token
	return t, err
}

func cutSuffix(template, to string) (rest, token string) {
	switch template {
	case "gotify":
		return strings.TrimSuffix(to, "/message"), ""
	case "slack":
		rest, token, _ = strings.Cut(to, "/hooks/")
		return rest, token
	case "ntfy":
		for _, verb := range [...]string{"/publish", "/send", "/trigger"} {
			to = strings.TrimSuffix(to, verb)
		}
	}
	return to, ""
}

// template gives the name of the template that is meant, if the token is good for it.
func (x *exchange) template(t target, in render.Input) (string, error) {
	name := t.template
	if name == render.Auto {
		name = render.Recognize(in)
	}
	if x.token != nil && !x.token.MayRender(name) && !x.token.MayRender(t.template) {
		return "", fault.New(fault.Forbidden, "the token is not for the template %s", shorten(name))
	}
	return name, nil
}

// renderedFields are those of a message from a template, and of the URL's query.
func (x *exchange) renderedFields(m render.Message) (fields, error) {
	f := fields{about: about{key: m.Key, update: m.Update, fresh: m.Fresh}}
	query, _, err := readPairs(x.r.URL.RawQuery, charset{fixed: true})
	if err != nil {
		return f, err
	}
	f.to = query.to
	for _, name := range overrides {
		if value, given := query.first(name); given {
			f.set(name, value)
		}
	}
	for _, made := range [...]field{{"body", m.Body}, {"subject", m.Subject}, {"type", m.Type}, {"id", m.ID}, {"oob", m.URL}} {
		if made.value != "" && !f.has(made.name) {
			f.set(made.name, made.value)
		}
	}
	styled, err := x.wants("xhtml")
	if styled && m.Body != "" {
		f.set("html", render.XHTML(m.Body))
	}
	return f, err
}

// topicOf is the recipient that a client of ntfy names in its JSON.
func topicOf(payload any) (topic string, is bool) {
	object, _ := payload.(map[string]any)
	topic, is = object["topic"].(string)
	return topic, is && topic != ""
}

// wants reports whether a parameter of the query asks for something.
func (x *exchange) wants(name string) (bool, error) {
	asked, err := x.asked(name)
	return isYes(asked), err
}

// refuses reports whether a parameter of the query asks not to.
func (x *exchange) refuses(name string) (bool, error) {
	asked, err := x.asked(name)
	return isNo(asked), err
}

func isYes(asked string) bool {
	return slices.Contains([]string{"1", "true", "yes", "on"}, strings.ToLower(asked))
}

func isNo(asked string) bool {
	return slices.Contains([]string{"0", "false", "no", "off"}, strings.ToLower(asked))
}
