package httpapi

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// The page for people, and what it needs. It has no step that builds it, and asks
// nobody but us for anything.
//
//go:embed page
var pageFiles embed.FS

// An asset is a file that is served as it is. Immutable once made.
type asset struct {
	contentType string
	content     []byte
	etag        string // "": it is not to be stored
}

// pageHeaders are those of a page: whatever got into it could run nothing, load nothing
// from elsewhere and send nothing there, and nobody can put it into a frame of theirs.
// Never written to.
var pageHeaders = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
	"Referrer-Policy":              "no-referrer",
	"Permissions-Policy":           "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
}

// A word tells people what a status means.
type word struct {
	Status string // or the code of a failure that says more
	Title  string
	Text   string
	Mood   string // good, wait or bad
}

// words are those of every status. The page's script has them from the page. Never
// written to.
var words = []word{
	{string(message.Delivered), "Delivered", "The server has processed the message, and would have told of a failure.", "good"},
	{string(message.Routed), "Routed", "The server has taken the message, and tells no more than that.", "good"},
	{string(message.Kept), "Queued", "The message is on disk. It goes out as soon as it can, or expires.", "wait"},
	{string(refused), "Not sent", "It was refused for good.", "bad"},
	{string(failed), "Not sent", "It can be tried again.", "bad"},
	{fault.Unconfirmed.String(), "Not confirmed", "It may have been delivered.", "bad"},
	{string(message.Bounced), "Bounced", "The server has refused it for good.", "bad"},
	{string(message.Rejected), "Rejected", "The server ended the connection because of it, twice.", "bad"},
	{string(message.Expired), "Expired", "It could not be sent in time, and was given up.", "bad"},
}

// wordFor gives the word for what a failure's code says more about than its status.
func wordFor(code string, status message.Status) word {
	for _, key := range [...]string{code, string(status), string(failed)} {
		for _, w := range words {
			if w.Status == key {
				return w
			}
		}
	}
	return word{}
}

// contentTypes are those of files that are served as they are. Never written to.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// newAssets makes what is served: the page under the name "", the others under their
// own. The messages' path is base.
func newAssets(base string) map[string]*asset {
	files := make(map[string]*asset)
	entries, _ := pageFiles.ReadDir("page") // it is there, or this would not compile
	for _, entry := range entries {
		name := entry.Name()
		if contentType := contentTypes[path.Ext(name)]; contentType != "" {
			content, _ := pageFiles.ReadFile("page/" + name)
			files[name] = stored(contentType, content)
		}
	}
	home := execute("index.html", map[string]any{"Path": strings.TrimPrefix(base, "/"), "Words": words})
	files[""] = &asset{"text/html; charset=utf-8", home, ""}
	return files
}

// stored makes an asset that browsers may store.
func stored(contentType string, content []byte) *asset {
	sum := sha256.Sum256(content)
	return &asset{contentType, content, strconv.Quote(hex.EncodeToString(sum[:8]))}
}

func execute(name string, data any) []byte {
	var out bytes.Buffer
	t := template.New(name).Funcs(template.FuncMap{"word": wordFor})
	_ = template.Must(t.ParseFS(pageFiles, "page/"+name)).Execute(&out, data)
	return out.Bytes()
}

func (x *exchange) pageHeaders() {
	header := x.w.Header()
	for name, value := range pageHeaders {
		header.Set(name, value)
	}
	// RFC 6797 §7.2 has it over TLS alone. It holds for all ports of the name, of which
	// another may be of somebody who has no TLS: so it is said on the usual one.
	if x.r.TLS != nil && !strings.Contains(x.r.Host, ":") {
		header.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// replyAsset answers with a file. One that may be stored is asked about each time, so that
// a newer posthorn's page never meets an older script.
func (x *exchange) replyAsset(f *asset) {
	x.pageHeaders()
	header := x.w.Header()
	if f.etag != "" {
		header.Set("Cache-Control", "no-cache")
		header.Set("ETag", f.etag)
	}
	// RFC 9110 §13.1.2: compared weakly, since a proxy that compresses makes them weak.
	if f.etag != "" && listed(strings.ReplaceAll(x.r.Header.Get("If-None-Match"), "W/", ""), f.etag) {
		x.status = http.StatusNotModified
		x.w.WriteHeader(x.status)
		return
	}
	x.write(http.StatusOK, f.contentType, f.content)
}

// forPerson reports whether a person reads the answer: who has sent the page's form
// without its script.
func (x *exchange) forPerson() bool {
	if x.target.page != messagePage {
		return false
	}
	switch media, _ := parseContentType(x.r.Header.Get("Content-Type")); media {
	case "application/x-www-form-urlencoded", "multipart/form-data":
		accept := x.r.Header.Get("Accept")
		return quality(accept, "text/html") > quality(accept, "application/json")
	}
	return false
}

// quality is how much the header Accept likes a media type (RFC 9110 §12.5.1): that of
// the range that says most about it.
func quality(accept, media string) (q float64) {
	kind, _, _ := strings.Cut(media, "/")
	ranges := []string{"*/*", kind + "/*", media}
	said := -1
	for part := range strings.SplitSeq(accept, ",") {
		name, params, err := mime.ParseMediaType(part)
		for i, r := range ranges {
			if err != nil || name != r || i < said {
				continue
			}
			said, q = i, 1
			if weight, err := strconv.ParseFloat(params["q"], 64); err == nil {
				q = weight
			}
		}
	}
	return q
}

// A told is an answer as a page tells it.
type told struct {
	Word    word
	Detail  string // says it better than the word's text
	ID      string
	Results []result
	Back    string // the page's address
}

// replyPage answers as reply does, for a person.
func (x *exchange) replyPage(status int, body any) {
	// Relative, since a proxy may have us below a path of its own.
	t := told{Back: "./" + strings.Repeat("../", strings.Count(strings.TrimPrefix(x.r.URL.EscapedPath(), "/"), "/"))}
	switch b := body.(type) {
	case problem:
		t.Word, t.Detail, t.Results = wordFor(b.Code, failed), b.Detail, b.Results
	case sent:
		t.ID, t.Results = b.ID, b.Results
		if t.Word = wordFor("", b.Status); status == http.StatusMultiStatus {
			t.Word.Title, t.Detail = "Not sent to all", "Some were refused for good."
		}
	}
	x.pageHeaders()
	x.write(status, "text/html; charset=utf-8", execute("told.html", t))
}
