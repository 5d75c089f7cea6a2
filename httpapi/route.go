package httpapi

import (
	"net/http"
	"net/url"
	"strings"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// A page is what a path leads to. Its word is for good: stanza ids are derived
// from it.
type page string

const (
	messagePage page = "message"
	restPage    page = "rest"
	hookPage    page = "hook"

	openAPIPage page = "openapi.yaml"
	docsPage    page = "docs"
	healthPage  page = "health"
	readyPage   page = "ready"
	lookupPage  page = "lookup"
	tokensPage  page = "tokens"
	tokenPage   page = "token"
	statusPage  page = "status"
	homePage    page = "home"
	filePage    page = "file"
)

// sends reports whether the page takes messages.
func (p page) sends() bool { return p == messagePage || p == restPage || p == hookPage }

// tells reports whether the page is one that tells how posthorn is.
func (p page) tells() bool { return p == healthPage || p == readyPage }

// allow lists the page's methods, as the header Allow does (RFC 9110 §10.2.1).
func (p page) allow() string {
	switch p {
	case healthPage, readyPage, lookupPage, statusPage, filePage, openAPIPage, docsPage:
		return "GET, HEAD, OPTIONS"
	case homePage: // POST and PUT lead to a webhook
		return "GET, HEAD, POST, PUT, OPTIONS"
	case tokensPage:
		return "GET, HEAD, POST, OPTIONS"
	case tokenPage:
		return "DELETE, OPTIONS"
	case hookPage:
		return "GET, POST, PUT, OPTIONS"
	}
	return "POST, PUT, OPTIONS"
}

// A target is what the path alone says.
type target struct {
	page page
	to   []string // recipients in the path, as written; nil: none
	typ  string   // the message's type in the path; "": none

	template string // of a webhook
	token    string // by which its sender is known; "": there is none in the path
	id       string // of the message that is asked about, or the name of a token or a file
}

// route takes a path apart, of which escapes are left as they came.
func (h *Handler) route(method, path string) (target, error) {
	path = "/" + strings.Trim(path, "/")
	if h.base != "" {
		if t, found := h.routeHome(method, path); found {
			return t, nil
		}
	}
	switch path {
	case "/healthz":
		return target{page: healthPage}, nil
	case "/readyz":
		return target{page: readyPage}, nil
	case "/rest":
		return target{page: restPage}, nil
	case "/openapi.yaml":
		return target{page: openAPIPage}, nil
	case "/docs":
		return target{page: docsPage}, nil
	case "/tokens":
		return target{page: tokensPage}, nil
	}
	if id, found := strings.CutPrefix(path, "/messages/"); found {
		return namedTarget(lookupPage, id)
	}
	if name, found := strings.CutPrefix(path, "/tokens/"); found {
		return namedTarget(tokenPage, name)
	}
	if rest, found := strings.CutPrefix(path, "/hook/"); found || path == "/hook" {
		return hookTarget(strings.TrimPrefix(rest, "/hook"))
	}
	if rest, found := strings.CutPrefix(path, "/rest/message/"); found {
		typ, to, _ := strings.Cut(strings.TrimLeft(rest, "/"), "/")
		return pathTarget(restPage, typ, to)
	}
	if rest, found := h.belowBase(path); found {
		return pathTarget(messagePage, "", rest)
	}
	return target{}, fault.New(fault.NoSuchPage, "there is nothing at this path: messages go to %s/user@example.com", h.base)
}

// routeHome finds the page for people and what it needs, which are there where a path
// at the root does not name a recipient.
func (h *Handler) routeHome(method, path string) (t target, found bool) {
	name, isFile := strings.CutPrefix(path, "/page/")
	switch {
	case path == "/" && (method == http.MethodPost || method == http.MethodPut):
		// Some clients of ntfy take a server's name, and no path.
		return target{page: hookPage, template: "ntfy"}, true
	case path == "/":
		return target{page: homePage}, true
	case path == "/status":
		return target{page: statusPage}, true
	case isFile && h.files[name] != nil:
		return target{page: filePage, id: name}, true
	}
	return target{}, false
}

// namedTarget reads what the page is about.
func namedTarget(p page, escaped string) (target, error) {
	id, err := url.PathUnescape(escaped)
	if err != nil {
		return target{}, fault.Wrap(err, fault.Malformed, "the path has an escape that is none")
	}
	if err := message.CheckText(id); err != nil { // PostgreSQL would not even look for it
		return target{}, fault.New(fault.NoSuchPage, "there is nothing of this name, which %v", err)
	}
	return target{page: p, id: id}, nil
}

// belowBase gives what follows the messages' path. That is compared segment by
// segment once unescaped, since %6D is an m (RFC 3986 §6.2.2.2).
func (h *Handler) belowBase(path string) (rest string, found bool) {
	end := segments(path, strings.Count(h.base, "/"))
	if base, err := url.PathUnescape(path[:end]); err != nil || base != h.base {
		return "", false
	}
	return path[end:], true
}

// segments is the length of the first n segments of a path.
func segments(path string, n int) int {
	end := 0
	for range n {
		i := strings.IndexByte(path[end+1:], '/')
		if i < 0 {
			return len(path)
		}
		end += 1 + i
	}
	return end
}

// pathTarget reads the recipients of a path. The commas that separate them are
// those that came as such, so that %2C stands in a name.
func pathTarget(p page, typ, to string) (target, error) {
	t := target{page: p}
	var err error
	if t.typ, err = url.PathUnescape(typ); err != nil {
		return t, fault.Wrap(err, fault.Malformed, "the path has an escape that is none")
	}
	to = strings.TrimLeft(to, "/")
	if to == "" {
		return t, nil
	}
	for part := range strings.SplitSeq(to, ",") {
		name, err := url.PathUnescape(part)
		if err != nil {
			return t, fault.Wrap(err, fault.Malformed, "the path has an escape that is none")
		}
		t.to = append(t.to, name)
	}
	return t, nil
}

// escapedPath is the path as it came. URL.EscapedPath would be it, but that
// escapes anew, without %2C, where a letter came unescaped.
func escapedPath(u *url.URL) string {
	if u.RawPath != "" {
		return u.RawPath
	}
	return u.EscapedPath()
}
