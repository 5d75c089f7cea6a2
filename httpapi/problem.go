package httpapi

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"posthorn/internal/fault"
)

// A problem is how a failure is written (RFC 9457 §3).
type problem struct {
	Type    string   `json:"type"` // about:blank: the status says what sort it is (RFC 9457 §4.2.1)
	Title   string   `json:"title"`
	Status  int      `json:"status"`
	Detail  string   `json:"detail"`
	Code    string   `json:"code"`              // for programs; stable
	Results []result `json:"results,omitempty"` // of several recipients
}

// fail answers with a problem.
func (x *exchange) fail(f *fault.Error, results []result) {
	x.err = f
	row := rowOf(f.Kind)
	p := problem{Type: "about:blank", Title: row.title, Status: row.status, Detail: x.detail(f), Code: f.Kind.String(), Results: results}
	header := x.w.Header()
	if seconds := retryAfter(f); seconds > 0 {
		header.Set("Retry-After", strconv.Itoa(seconds))
	}
	switch row.status {
	case http.StatusUnauthorized:
		// RFC 7617 §2 and §2.1. The realm names the protection space, and there is one.
		header.Set("WWW-Authenticate", `Basic realm="posthorn", charset="UTF-8"`)
		if x.bearer { // RFC 6750 §3
			header.Set("WWW-Authenticate", `Bearer realm="posthorn", error="invalid_token"`)
		}
	case http.StatusRequestTimeout, http.StatusRequestEntityTooLarge:
		// What is left of the request would be read as the next one.
		header.Set("Connection", "close")
	}
	x.reply(row.status, "application/problem+json", p)
}

// retryAfter is in whole seconds (RFC 9110 §10.2.3), none of which is too few.
func retryAfter(f *fault.Error) int {
	if f.Wait > 0 {
		return int((f.Wait + time.Second - 1) / time.Second)
	}
	return rowOf(f.Kind).retry
}

// detail is the line for the client. Of a mistake of ours it says where in the
// log the cause stands.
func (x *exchange) detail(f *fault.Error) string {
	if rowOf(f.Kind).status != http.StatusInternalServerError {
		return oneLine(f.Public)
	}
	if !x.mistake {
		x.mistake, x.id = true, rand.Text()
	}
	return fmt.Sprintf("posthorn made a mistake: its log has the cause under the id %s", x.id)
}

// reply writes a whole answer, as JSON with a line feed at its end, for those
// who read it in a terminal, or as a page for those who posted a page's form.
func (x *exchange) reply(status int, contentType string, body any) {
	if x.forPerson() {
		x.replyPage(status, body)
		return
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // it is no page: nosniff and the type say so
	_ = encoder.Encode(body)     // our own plain structs always encode
	x.write(status, contentType, out.Bytes())
}

// write writes a whole answer.
func (x *exchange) write(status int, contentType string, body []byte) {
	x.status = status
	header := x.w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	x.w.WriteHeader(status)
	_, _ = x.w.Write(body) // a client that went away cannot be told so
}

// replyNothing answers that there is nothing to say.
func (x *exchange) replyNothing() {
	if x.replyForeign() {
		return
	}
	x.status = http.StatusNoContent
	x.w.WriteHeader(x.status)
}

// replyText writes a whole answer of plain text.
func (x *exchange) replyText(status int, text string) {
	x.write(status, "text/plain; charset=utf-8", []byte(text))
}

// oneLine keeps a detail on the one line that it promises to be.
func oneLine(s string) string {
	if strings.IndexFunc(s, unicode.IsControl) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// maxQuoted bounds what a detail repeats of the request, in bytes.
const maxQuoted = 80

// shorten cuts a value from the request for use in a detail.
func shorten(s string) string {
	if len(s) <= maxQuoted {
		return s
	}
	end := maxQuoted
	for !utf8.RuneStart(s[end]) && end > 0 {
		end--
	}
	return s[:end] + "…"
}
