package httpapi

import (
	"fmt"
	"strings"
	"testing"
)

// TestRefused is about everything that is not sent: nothing reaches the
// deliverer, and the detail says why.
func TestRefused(t *testing.T) {
	jsonCall := func(body string) call { return call{path: "/msg", typ: asJSON, body: body} }
	header := func(name, value string) call { return call{body: "x", header: map[string]string{name: value}} }
	type refusal struct {
		name   string
		call   call
		status int
		detail string // part of it
	}
	tests := []refusal{
		{"no Authorization", header("Authorization", "-"), 401, "who is it?"},
		{"empty Authorization", header("Authorization", ""), 401, "scheme Basic"},
		{"another scheme", header("Authorization", "Digest username=x"), 401, "scheme Basic"},
		{"Bearer", header("Authorization", "Bearer abc"), 401, "unknown token"},
		{"Bearer alone", header("Authorization", "Bearer"), 401, "scheme Basic"},
		{"Basic alone", header("Authorization", "Basic"), 401, "no colon"},
		{"not base64", header("Authorization", "Basic !!!"), 401, "not base64"},
		{"no colon", header("Authorization", "Basic bWU="), 401, "no colon"},
		{"no user", header("Authorization", basic("", password)), 401, "no user name"},
		{"NUL in the password", header("Authorization", basic(me, password+"\x00admin")), 401, "NUL"},
		{"NUL in the name", header("Authorization", basic("a\x00me", password)), 401, "NUL"},
		{"wrong password", header("Authorization", basic(me, password+"x")), 401, "wrong password"},
		{"user that is no JID", header("Authorization", basic("@@@", password)), 401, "wrong password"},

		{"no to", call{path: "/msg", body: "x"}, 422, "to: is missing"},
		{"no to, slash", call{path: "/msg/", body: "x"}, 422, "to: is missing"},
		{"empty to", call{path: "/msg?to=", body: "x"}, 422, "to: is empty"},
		{"empty to in JSON", call{typ: asJSON, body: `{"to":"","body":"x"}`}, 422, "to: is empty"},
		{"empty array", call{typ: asJSON, body: `{"to":[],"body":"x"}`}, 422, "to: is missing"},
		{"comma at the end", call{path: "/msg/user,", body: "x"}, 422, "to: is empty"},
		{"malformed to", call{path: "/msg/a@b@c", body: "x"}, 422, `"a@b@c"`},
		{"malformed to with line feed", call{path: "/msg/a%0Ab", body: "x"}, 422, `\n`},
		{"no name", call{path: "/msg/@example.com", body: "x"}, 422, "to: "},
		{"resource alone", call{path: "/msg/%2Fx", body: "x"}, 422, "to: "},
		{"invalid UTF-8 in the path", call{path: "/msg/%FF", body: "x"}, 422, "UTF-8"},
		{"configured domain", call{path: "/msg/example.com", body: "x"}, 422, "is a domain"},
		{"configured domain, upper case", call{path: "/msg/OTHER.example/x", body: "x"}, 422, "is a domain"},
		{"component's domain", call{path: "/msg/post.example.com", body: "x"}, 422, "posthorn's own domain"},
		{"component's domain with a resource", call{path: "/msg/Post.Example.com/x", body: "x"}, 422, "posthorn's own domain"},
		{"account at the component's domain", call{path: "/msg/user@POST.example.com/x", body: "x"}, 422, "own domain"},
		{"one bad in a list", call{path: "/msg/user,a@b@c,you", body: "x"}, 422, `"a@b@c"`},
		{"array with a bad entry", jsonCall(`{"to":["user","a@b@c"],"body":"x"}`), 422, `"a@b@c"`},
		{"array with a number", jsonCall(`{"to":["user",1],"body":"x"}`), 422, "number 2"},
		{"array with a null", jsonCall(`{"to":["user",null],"body":"x"}`), 422, "number 2"},
		{"array in an array", jsonCall(`{"to":[["user"]],"body":"x"}`), 422, "number 1"},
		{"too many", call{path: "/msg/" + strings.TrimSuffix(strings.Repeat("a,", 101), ","), body: "x"}, 422, "more than 100"},
		{"path of 20 KB", call{path: "/msg/" + strings.Repeat("a", 20000), body: "x"}, 422, "longer than"},

		{"no body", call{body: ""}, 422, "body: is missing"},
		{"a mark alone", call{body: "\ufeff"}, 422, "body: is missing"},
		{"no body in a form", call{typ: asForm, body: "subject=x"}, 422, "body: is missing"},
		{"empty form", call{typ: asForm, body: ""}, 422, "body: is missing"},
		{"no body in JSON", call{typ: asJSON, body: "{}"}, 422, "body: is missing"},
		{"empty body in JSON", call{typ: asJSON, body: `{"body":""}`}, 422, "body: is missing"},
		{"control character", call{body: "a\x01b"}, 422, "U+0001"},
		{"NUL", call{body: "a\x00b"}, 422, "U+0000"},
		{"noncharacter", call{body: "a\uffffb"}, 422, "U+FFFF"},
		{"control character in JSON", call{typ: asJSON, body: `{"body":"\u0007"}`}, 422, "U+0007"},
		{"control character in a form", call{typ: asForm, body: "body=%1B"}, 422, "U+001B"},
		{"control character in the subject", call{path: "/msg/user?subject=%00", body: "x"}, 422, "subject: "},
		{"control character in an encoded word", header("Title", "=?utf-8?Q?=01?="), 422, "subject: "},
		{"invalid UTF-8", call{body: "a\xffb"}, 422, "body: is not UTF-8"},
		{"invalid UTF-8 in JSON", call{typ: asJSON, body: "{\"body\":\"\xff\"}"}, 422, "not UTF-8"},
		{"invalid UTF-8 in a form", call{typ: asForm, body: "body=%FF"}, 422, "body: is not UTF-8"},
		{"invalid UTF-8 in the query", call{path: "/msg/user?subject=%FF", body: "x"}, 422, "subject: is not UTF-8: escape its UTF-8 form in the URL"},
		{"more than ASCII", call{typ: "text/plain; charset=us-ascii", body: "\xe4"}, 422, "body: is not UTF-8"},
		{"more than ASCII, another label", call{typ: "text/plain; charset=ASCII", body: "\xe4"}, 422, "body: is not UTF-8"},
		{"not the charset it says", call{typ: "text/plain; charset=shift_jis", body: "\x81"}, 422, "shift_jis"},

		{"unknown type", call{typ: "image/png", body: "x"}, 415, "image/png"},
		{"XML", call{typ: "application/xmpp+xml", body: "<message/>"}, 415, "application/xmpp+xml"},
		{"unknown charset", call{typ: "text/plain; charset=x-none", body: "x"}, 415, "x-none"},
		{"charset that is a trap", call{typ: "text/plain; charset=iso-2022-kr", body: "x"}, 415, "iso-2022-kr"},
		{"compressed", header("Content-Encoding", "gzip"), 415, "compressed"},

		{"room without a domain", call{path: "/msg/user?type=groupchat", body: "x"}, 422, "to: \"user\" is no room"},
		{"room with a resource", call{path: "/msg/room@rooms.example.com/nick?type=groupchat", body: "x"}, 422, "is no room"},
		{"nickname that is none", call{path: "/msg/room@rooms.example.com?type=groupchat&nick=a%E2%80%8Bb", body: "x"}, 422, "nick: "},
		{"nickname too long", call{path: "/msg/room@rooms.example.com?type=groupchat&nick=" + strings.Repeat("a", 1020), body: "x"}, 422, "nick: "},
		{"unknown message type", call{path: "/msg/user?type=error", body: "x"}, 422, "type: "},
		{"unknown type in the path", call{path: "/rest/message/error/user", body: "x"}, 422, "type: "},
		{"another kind", call{path: "/rest", typ: asJSON, body: `{"kind":"presence","to":"user","body":"x"}`}, 422, "kind: "},
		{"kind of no kind", call{path: "/rest", typ: asJSON, body: `{"kind":{},"to":"user","body":"x"}`}, 422, "kind: "},
		{"html too deep", call{typ: asForm, body: "body=x&html=" + strings.Repeat("<em>", 65)}, 422, "html: "},
		{"id of two lines", call{path: "/msg/user?id=a%0Ab", body: "x"}, 422, "id: "},
		{"id too long", call{path: "/msg/user?id=" + strings.Repeat("a", 1024), body: "x"}, 422, "id: "},
		{"field twice", call{typ: asForm, body: "body=a&body=b"}, 422, "body: is given twice"},
		{"query field twice", call{path: "/msg/user?subject=a&subject=b", body: "x"}, 422, "subject: is given twice"},

		{"JSON array", jsonCall(`[]`), 422, "object"},
		{"JSON string", jsonCall(`"x"`), 422, "object"},
		{"JSON null", jsonCall(`null`), 422, "object"},
		{"JSON nothing", jsonCall(``), 400, "too early"},
		{"JSON cut off", jsonCall(`{"body":"x"`), 400, "too early"},
		{"JSON cut off after a name", jsonCall(`{"body"`), 400, "too early"},
		{"JSON of no syntax", jsonCall(`{body:"x"}`), 400, "does not parse"},
		{"JSON with a comma too many", jsonCall(`{"body":"x",}`), 400, "does not parse"},
		{"JSON without a comma", jsonCall(`{"body":"x" "to":"user"}`), 400, "does not parse"},
		{"JSON twice", jsonCall(`{"body":"x"}{}`), 422, "behind its end"},
		{"JSON and more", jsonCall(`{"body":"x"} x`), 422, "behind its end"},
		{"JSON that ends a form", call{typ: asForm, body: "{disk full"}, 400, "text/plain"},
		{"duplicate member", jsonCall(`{"body":"x","body":"x"}`), 422, `"body" twice`},
		{"duplicate member, escaped", jsonCall(`{"body":"x","bod\u0079":"x"}`), 422, `"body" twice`},
		{"duplicate unknown member", jsonCall(`{"body":"x","a":1,"a":1}`), 422, `"a" twice`},
		{"duplicate in oob", jsonCall(`{"body":"x","to":"user","oob":{"url":"a","url":"b"}}`), 422, `"url" twice`},
		{"deeply nested JSON", call{typ: asJSON, body: `{"body":"x","a":` + strings.Repeat("[", 30000) + strings.Repeat("]", 30000) + `}`}, 400, "does not parse"},
		{"deeply nested body", call{typ: asJSON, body: `{"body":` + strings.Repeat(`{"a":`, 10000)}, 400, "does not parse"},
		{"oob without a url", jsonCall(`{"to":"user","body":"x","oob":{"desc":"d"}}`), 422, "oob: "},
		{"oob with a wrong desc", jsonCall(`{"to":"user","body":"x","oob":{"url":"u","desc":1}}`), 422, "oob: desc"},
		{"thread with a wrong id", jsonCall(`{"to":"user","body":"x","thread":{"id":[]}}`), 422, "thread: id"},

		{"half a pair", jsonCall(`{"to":"user","body":"a\ud83d"}`), 422, `body: has half a surrogate pair`},
		{"half a pair, the second", jsonCall(`{"to":"user","body":"\uDE00\ud83d"}`), 422, "body: has half a surrogate pair"},
		{"half a pair before a letter", jsonCall(`{"to":"user","body":"\ud83d\u0041"}`), 422, "body: has half a surrogate pair"},
		{"half a pair twice", jsonCall(`{"to":"user","body":"\ud83d\ud83d\ude00"}`), 422, "body: has half a surrogate pair"},
		{"half a pair in the subject", jsonCall(`{"to":"user","body":"x","title":"\\\ud83d"}`), 422, "title: has half a surrogate pair"},
		{"half a pair in a resource", jsonCall(`{"to":["user/\ud83d"],"body":"x"}`), 422, "to: number 1: has half a surrogate pair"},
		{"half a pair in an object", jsonCall(`{"to":"user","body":"x","oob":{"url":"\ud83d"}}`), 422, "oob: url: has half a surrogate pair"},
		{"half a pair in a form that is JSON", call{typ: asForm, body: `{"body":"\ud83d"}`}, 422, "body: has half a surrogate pair"},
		{"ttl of no such kind", jsonCall(`{"to":"user","body":"x","ttl":true}`), 422, "ttl: has to be a string such as 1h or a number of seconds"},
		{"oob of no such kind", jsonCall(`{"to":"user","body":"x","oob":1}`), 422, "oob: has to be a string, the URL, or an object with a url"},
		{"thread of no such kind", jsonCall(`{"to":"user","body":"x","thread":1}`), 422, "thread: has to be a string or an object with an id"},
		{"to of no such kind", jsonCall(`{"to":1,"body":"x"}`), 422, "to: has to be a string or an array of strings"},
		{"character that no name has", call{path: "/msg/a%20b", body: "x"}, 422, `to: "a b" has a character that a JID cannot have in its name`},

		{"no boundary", call{typ: "multipart/form-data", body: "x"}, 400, "boundary"},
		{"no parts", multipartCall("x"), 422, "body: is missing"},
		{"parts cut off", multipartCall("--b\r\nContent-Disposition: form-data; name=\"body\"\r\n\r\nx"), 400, "parts"},
		{"parts of no field", multipartCall("--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\nx\r\n--b--\r\n"), 422, "body: is missing"},
		{"part twice", multipartCall(strings.Repeat("--b\r\nContent-Disposition: form-data; name=\"body\"\r\n\r\nx\r\n", 2) + "--b--\r\n"), 422, "twice"},
		{"part of an unknown charset", multipartCall("--b\r\nContent-Disposition: form-data; name=\"body\"\r\nContent-Type: text/plain; charset=x-none\r\n\r\nx\r\n--b--\r\n"), 415, "x-none"},
		{"too many parts", multipartCall(strings.Repeat("--b\r\n\r\nx\r\n", 300) + "--b--\r\n"), 422, "more than 256"},

		{"empty key", header("Idempotency-Key", ""), 400, "Idempotency-Key"},
		{"key with a space", header("Idempotency-Key", "a b"), 400, "Idempotency-Key"},
		{"key in letters", header("Idempotency-Key", "ä"), 400, "Idempotency-Key"},
		{"key too long", header("Idempotency-Key", strings.Repeat("k", 256)), 400, "Idempotency-Key"},

		{"GET", call{method: "GET"}, 405, "POST, PUT, OPTIONS"},
		{"DELETE", call{method: "DELETE", path: "/rest"}, 405, "POST, PUT, OPTIONS"},
		{"lower case", call{method: "post"}, 405, "POST, PUT, OPTIONS"},
		{"POST to health", call{method: "POST", path: "/healthz"}, 405, "GET, HEAD, OPTIONS"},
		{"no page", call{method: "GET", path: "/none"}, 404, "nothing at this path"},
	}
	for _, name := range []string{"body", "text", "message", "msg", "content", "subject", "title", "type", "id", "lang", "html", "replace", "nick", "thread", "oob", "ttl", "to"} {
		wrong := []string{"true", "[1]"}
		if name != "ttl" {
			wrong = append(wrong, "1")
		}
		if name != "thread" && name != "oob" {
			wrong = append(wrong, "{}")
		}
		for _, value := range wrong {
			rest := ""
			if !strings.Contains("body text message msg content", name) {
				rest = `,"body":"x"`
			}
			detail := name + ": has to be"
			if name == "to" && value == "[1]" {
				detail = "to: number 1: has to be"
			}
			tests = append(tests, refusal{name + " is " + value, call{typ: asJSON, body: fmt.Sprintf(`{%q:%s%s}`, name, value, rest)}, 422, detail})
		}
	}
	for _, ttl := range []string{"0", "-1", "1 week", "NaN", "1e99", "-1h", "9000h"} {
		tests = append(tests, refusal{"ttl " + ttl, call{typ: asForm, body: "body=x&ttl=" + ttl}, 422, "ttl: "})
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(nil)
			got := h.do(t, test.call)
			if got.status != test.status || !strings.Contains(got.body, "detail") || !strings.Contains(got.member(t, "detail").(string), test.detail) {
				t.Fatalf("%d %s; want %d %q", got.status, got.body, test.status, test.detail)
			}
			if sent := h.deliverer.take(); len(sent) > 0 {
				t.Fatalf("sent all the same: %v", sent)
			}
			if (got.status == 405) != (got.header.Get("Allow") != "") {
				t.Fatalf("%d with Allow %q", got.status, got.header.Get("Allow"))
			}
		})
	}
}
