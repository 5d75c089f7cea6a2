package main

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// TestMigrating: what docs/migrating.md says of posthorn's answers is so. Where it is no
// success, the row has the status.
func TestMigrating(t *testing.T) {
	h := startPosthorn(t, prosodyWithUsers(t, keepsAll)).ready(t)
	page := readPage(t, "docs/migrating.md")
	typed := func(contentType string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Content-Type", contentType) }
	}
	as := func(name, word string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(name, word) }
	}
	for _, test := range []struct {
		row, path, body string
		change          func(*http.Request)
		want            int
	}{
		{"the account does not exist", "/msg/ghost@example.com", "x", nil, 404},
		{"a wrong password", "/msg/user", "x", as("me@example.com", "wrong"), 401},
		{"a sender whose account", "/msg/user", "x", as("ghost@example.com", password), 401},
		{"a sender whose account", "/msg/user", "x", as("me@elsewhere.example", password), 401},
		{"a recipient whose address is none", "/msg/a%20b@example.com", "x", nil, 422},
		{"`text/plain; charset=utf-8`", "/msg/user", "x", typed("text/plain; charset=utf-8"), 201},
		{"no `Content-Type`", "/msg/user", "x", func(r *http.Request) { r.Header.Del("Content-Type") }, 201},
		{"`/msg/user`", "/msg/user", "x", nil, 201},
		{"an empty message", "/msg/user", "", nil, 422},
		{"a control character", "/msg/user", "\x01", nil, 422},
		{"a control character", "/msg/user", `{"body":["x"]}`, typed("application/json"), 422},
		{"an unknown `type`", "/msg/user?type=shout", "x", nil, 422},
		{"GET", "/msg/user", "", func(r *http.Request) { r.Method = "GET" }, 405},
		{"several recipients", "/msg/user,me", "x", nil, 201},
		{"more than 64 KiB", "/msg/user", strings.Repeat("x", 64<<10+1), nil, 413},
		{"`POST /rest` with JSON", "/rest", `{"kind":"message","to":"user@example.com","body":"x"}`, typed("application/json"), 201},
		{"`POST /rest/message/{type}/{to}`", "/rest/message/chat/user@example.com", "x", nil, 201},
		{"Basic with the name before", "/rest/message/chat/user@example.com", "x", as("me", password), 201},
		{"`application/xmpp+xml`", "/rest", "<message/>", typed("application/xmpp+xml"), 415},
		{"the kinds `presence` and `iq`", "/rest", `{"kind":"iq","to":"user@example.com","body":"x"}`, typed("application/json"), 422},
		{"the kinds `presence` and `iq`", "/rest/ping/example.com", "", func(r *http.Request) { r.Method = "GET" }, 404},
	} {
		_, rest, found := strings.Cut(page, "\n| "+test.row)
		row, _, _ := strings.Cut(rest, "\n")
		if !found || test.want >= 400 && !strings.Contains(row, strconv.Itoa(test.want)) {
			t.Errorf("the page has no %d in a row that begins with %s", test.want, test.row)
		}
		if a := h.mustPost(t, test.path, test.body, test.change); a.status != test.want {
			t.Errorf("%s: %d %s, want %d", test.row, a.status, a.raw, test.want)
		}
	}
}
