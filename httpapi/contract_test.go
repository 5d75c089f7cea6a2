package httpapi

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"posthorn/internal/message"
)

const (
	asJSON = "application/json"
	asForm = "application/x-www-form-urlencoded"
)

// A sending is a call and the messages that it is to become.
type sending struct {
	name string
	call call
	want []message.Message // From, Type chat and a random ID are added
}

func (test sending) run(t *testing.T) {
	t.Helper()
	h := newHouse(nil)
	got := h.do(t, test.call)
	if got.status != 201 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	for i := range test.want {
		test.want[i].From = me
		if test.want[i].Type == "" {
			test.want[i].Type = message.Chat
		}
	}
	messages := h.deliverer.take()
	if diff := cmp.Diff(test.want, messages, cmpopts.IgnoreFields(message.Message{}, "ID")); diff != "" {
		t.Fatal(diff)
	}
}

// to makes the messages with one body for some recipients.
func to(body string, recipients ...message.JID) []message.Message {
	var messages []message.Message
	for _, j := range recipients {
		messages = append(messages, message.Message{To: j, Body: body})
	}
	return messages
}

func TestAddressing(t *testing.T) {
	const user, other = "user@example.com", "you@example.org"
	for _, test := range []sending{
		{"bare name", call{path: "/msg/user", body: "x"}, to("x", user)},
		{"bare name with a resource", call{path: "/msg/user/Phone", body: "x"}, to("x", user+"/Phone")},
		{"bare name, upper case", call{path: "/msg/User", body: "x"}, to("x", user)},
		{"JID", call{path: "/msg/you@example.org", body: "x"}, to("x", other)},
		{"%40", call{path: "/msg/you%40example.org", body: "x"}, to("x", other)},
		{"resource", call{path: "/msg/you@example.org/a/b", body: "x"}, to("x", other+"/a/b")},
		{"at sign in a resource alone", call{path: "/msg/user/a@b", body: "x"}, to("x", user+"/a@b")},
		{"escaped slash", call{path: "/msg/you@example.org%2Fa", body: "x"}, to("x", other+"/a")},
		{"trailing slash", call{path: "/msg/user/", body: "x"}, to("x", user)},
		{"two slashes", call{path: "/msg//user", body: "x"}, to("x", user)},
		{"slashes everywhere", call{path: "//msg///user//", body: "x"}, to("x", user)},
		{"escaped path", call{path: "/%6Dsg/user", body: "x"}, to("x", user)},
		{"letters escaped", call{path: "/msg/j%C3%BCrgen", body: "x"}, to("x", "jürgen@example.com")},
		{"commas", call{path: "/msg/user,you@example.org", body: "x"}, to("x", user, other)},
		{"%2C", call{path: "/msg/a%2Cb", body: "x"}, to("x", "a,b@example.com")},
		{"one twice", call{path: "/msg/user,USER@example.com,user", body: "x"}, to("x", user)},
		{"field over path", call{path: "/msg/user", typ: asForm, body: "to=you@example.org&body=x"}, to("x", other)},
		{"JSON over path", call{path: "/msg/user", typ: asJSON, body: `{"to":"you@example.org","body":"x"}`}, to("x", other)},
		{"null is not there", call{path: "/msg/user", typ: asJSON, body: `{"to":null,"body":"x"}`}, to("x", user)},
		{"path over query", call{path: "/msg/user?to=you@example.org", body: "x"}, to("x", user)},
		{"query", call{path: "/msg?to=you@example.org", body: "x"}, to("x", other)},
		{"query, repeated and with commas", call{path: "/msg/?to=a&to=b,c", body: "x"}, to("x", "a@example.com", "b@example.com", "c@example.com")},
		{"JSON array", call{path: "/msg", typ: asJSON, body: `{"to":["user","you@example.org"],"body":"x"}`}, to("x", user, other)},
		{"JSON array keeps commas", call{path: "/msg", typ: asJSON, body: `{"to":["a,b"],"body":"x"}`}, to("x", "a,b@example.com")},
		{"JSON string with commas", call{path: "/msg", typ: asJSON, body: `{"to":"user, you@example.org","body":"x"}`}, to("x", user, other)},
		{"form, repeated", call{path: "/msg", typ: asForm, body: "to=user&to=you%40example.org&body=x"}, to("x", user, other)},
		{"subdomain of ours is another server", call{path: "/msg/a@x.post.example.com", body: "x"}, to("x", "a@x.post.example.com")},
		{"PUT", call{method: "PUT", body: "x"}, to("x", user)},
		{"rest", call{path: "/rest", typ: asJSON, body: `{"kind":"message","to":"user","body":"x"}`}, to("x", user)},
		{"rest without a kind", call{path: "/rest/", typ: asJSON, body: `{"to":"user","body":"x"}`}, to("x", user)},
		{"rest, PUT", call{method: "PUT", path: "/rest/message/chat/user", body: "x"}, to("x", user)},
		{"rest, JSON below the path", call{path: "/rest/message/headline/user", typ: asJSON, body: `{"body":"x"}`},
			[]message.Message{{To: user, Body: "x", Type: message.Headline}}},
		{"room", call{path: "/msg/ops@rooms.example.com?type=groupchat&nick=Bot&password=s", body: "x"},
			[]message.Message{{To: "ops@rooms.example.com", Body: "x", Type: message.GroupChat, Nick: "Bot", Password: "s"}}},
		{"room, JSON", call{path: "/msg", typ: asJSON, body: `{"to":"ops@rooms.example.com","type":"groupchat","body":"x","nick":"Bot","password":"s"}`},
			[]message.Message{{To: "ops@rooms.example.com", Body: "x", Type: message.GroupChat, Nick: "Bot", Password: "s"}}},
		{"a password alone is no form", call{typ: asForm, body: "password=expired"}, to("password=expired", user)},
		{"rest, recipient in the body", call{path: "/rest/message/normal", typ: asJSON, body: `{"to":"user","body":"x"}`},
			[]message.Message{{To: user, Body: "x", Type: message.Normal}}},
	} {
		t.Run(test.name, test.run)
	}
}

func TestOtherBases(t *testing.T) {
	for _, test := range []struct {
		base, path string
		want       int
	}{
		{"/", "/user", 201},
		{"", "/user@example.com/", 201},
		{"", "//user@example.com", 201},
		{"/", "/", 422}, // no recipient
		{"/a/b/", "/a/b/user", 201},
		{"/a/b", "/a/user", 404},
		{"/a/b", "/a", 404},
		{"msg", "/msg/user", 201},
		{"/pöst", "/p%C3%B6st/user", 201},
		{"/msg", "/msgfoo", 404},
		{"/msg", "/msgfoo/user", 404},
		{"/msg", "/user", 404},
		{"/msg", "/", 422}, // where clients of ntfy post to a topic; this one names none
		{"/msg", "/MSG/user", 404},
		{"/msg", "/rest/iq/get/user", 404},
		{"/msg", "/rest/message", 404},
	} {
		t.Run(test.base+" "+test.path, func(t *testing.T) {
			h := newHouse(func(o *Options) { o.Path = test.base })
			if got := h.do(t, call{path: test.path, body: "x"}); got.status != test.want {
				t.Fatalf("%d %s; want %d", got.status, got.body, test.want)
			}
		})
	}
}

func TestTexts(t *testing.T) {
	text := func(body string) []message.Message { return to(body, "user@example.com") }
	for _, test := range []sending{
		{"parameters", call{typ: `Text/Plain; format=flowed; charset="utf-8"`, body: "ä"}, text("ä")},
		{"no type", call{typ: "-", body: "ä"}, text("ä")},
		{"type of nothing", call{typ: ";;;", body: "ä"}, text("ä")},
		{"broken parameters", call{typ: "text/plain; charset", body: "ä"}, text("ä")},
		{"charset twice", call{typ: "text/plain; charset=utf-8; charset=utf-8", body: "ä"}, text("ä")},
		{"charset in a broken header", call{typ: "text/plain; x; x; charset=ISO-8859-1", body: "\xe4"}, text("ä")},
		{"Latin-1", call{typ: "text/plain; charset=iso-8859-1", body: "\xe4\x80"}, text("ä€")},
		{"Shift JIS", call{typ: "text/plain; charset=shift_jis", body: "\x93\xfa\x96\x7b"}, text("日本")},
		{"UTF-16, by its mark", call{typ: "text/plain; charset=utf-16", body: "\xfe\xff\x00h\x00i"}, text("hi")},
		{"UTF-16, without a mark", call{typ: "text/plain; charset=utf-16be", body: "\x00h\x00i"}, text("hi")},
		{"UTF-16, by a mark that is stronger", call{typ: "text/plain; charset=utf-16le", body: "\xfe\xff\x00h\x00i"}, text("hi")},
		{"windows-1251 like a mark", call{typ: "text/plain; charset=windows-1251", body: "\xfe\xff!"}, text("юя!")},
		{"windows-1251 like another mark", call{typ: "text/plain; charset=windows-1251", body: "\xff\xfe\xe9"}, text("яюй")},
		{"windows-1251 like UTF-8's mark", call{typ: "text/plain; charset=windows-1251", body: "\xef\xbb\xbf"}, text("п»ї")},
		{"windows-1251 like UTF-8's mark in a form", call{typ: asForm + "; charset=windows-1251", body: "\xef\xbb\xbf"}, text("п»ї")},
		{"ASCII that is UTF-8", call{typ: "text/plain; charset=US-ASCII", body: "\ufeffä"}, text("ä")},
		{"mark", call{body: "\ufeffhello"}, text("hello")},
		{"line ends", call{body: "a\r\nb\rc\n"}, text("a\nb\nc\n")},
		{"stays as it is", call{body: " <b>&amp; \t"}, text(" <b>&amp; \t")},
		{"Content-Encoding identity", call{body: "x", header: map[string]string{"Content-Encoding": "Identity"}}, text("x")},

		{"form that is text", call{typ: asForm, body: "load=5 on host"}, text("load=5 on host")},
		{"form that is text with a plus", call{typ: asForm, body: "a+b"}, text("a+b")},
		{"form that is text with a per cent", call{typ: asForm, body: "disk 95% full, 20%20"}, text("disk 95% full, 20%20")},
		{"form that is text, unknown names", call{typ: asForm, body: "a=1&a=2&b"}, text("a=1&a=2&b")},
		{"form that is one word of ours", call{typ: asForm, body: "message"}, text("message")},
		{"data-urlencode", call{typ: asForm, body: "95%25+full%21%0Anow"}, text("95% full!\nnow")},
		{"data-urlencode of Latin-1 stays", call{typ: asForm, body: "%E4"}, text("%E4")},
		{"data-urlencode, not everything escaped", call{typ: asForm, body: "a%20b c"}, text("a%20b c")},
		{"form", call{typ: asForm, body: "body=a+b%26c&x=y"}, text("a b&c")},
		{"form, a lone per cent", call{typ: asForm, body: "body=disk 95% full"}, text("disk 95% full")},
		{"form, per cents at the end", call{typ: asForm, body: "body=95%&x=%4"}, text("95%")},
		{"form in Latin-1", call{typ: asForm + "; charset=iso-8859-1", body: "body=%E4\xe4"}, text("ää")},
		{"form, equals in the value", call{typ: asForm, body: "body=a=b"}, text("a=b")},
		{"form, escaped name", call{typ: asForm, body: "%62ody=x"}, text("x")},
		{"form that is JSON", call{typ: asForm, body: " \n{\"text\":\"x\"}"}, text("x")},
		{"aliases in their order", call{typ: asForm, body: "content=d&msg=c&message=b&text=a"}, text("a")},
		{"JSON aliases in their order", call{typ: asJSON, body: `{"content":"d","msg":"c","message":null}`}, text("c")},
		{"JSON, what is not used may be anything", call{typ: asJSON, body: `{"body":"x","message":{"a":[1]},"markable":true,"Body":1}`}, text("x")},
		{"JSON, surrogate pair", call{typ: asJSON, body: `{"body":"\uD83d\uDE00\ud83d\ude00"}`}, text("😀😀")},
		{"JSON, escaped backslash", call{typ: asJSON, body: `{"body":"\\ud83d\n\\\\ud83d"}`}, text("\\ud83d\n\\\\ud83d")},
		{"JSON, U+FFFD", call{typ: asJSON, body: `{"body":"\ufffd` + "\ufffd" + `"}`}, text("\ufffd\ufffd")},
		{"JSON, half a pair where nobody reads", call{typ: asJSON, body: `{"body":"x","y":"\ud83d"}`}, text("x")},
		{"JSON in Latin-1", call{typ: asJSON + "; charset=iso-8859-1", body: "{\"body\":\"\xe4\"}"}, text("ä")},
		{"JSON with a mark", call{typ: asJSON, body: "\ufeff{\"body\":\"x\"}"}, text("x")},
		{"JSON, nested but not used", call{typ: asJSON, body: `{"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `,"body":"x"}`}, text("x")},
		{"multipart", multipartCall("--b\r\nContent-Disposition: form-data; name=\"body\"\r\n\r\na\r\nb\r\n--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\ny\r\n--b--\r\n"), text("a\nb")},
		{"multipart, a part in Latin-1", multipartCall("--b\r\nContent-Disposition: form-data; name=\"body\"\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\n\xe4\r\n--b--\r\n"), text("ä")},
		{"multipart, broken parameters", call{typ: "multipart/form-data; x; Boundary=\"b'\"", body: "--b'\r\nContent-Disposition: form-data; name=\"body\"\r\n\r\na\r\n--b'--\r\n"}, text("a")},
		{"query body", call{path: "/msg/user?body=a%20b+c", body: ""}, text("a b c")},
		{"text over query", call{path: "/msg/user?body=q", body: "x"}, text("x")},
	} {
		t.Run(test.name, test.run)
	}
}

func multipartCall(body string) call {
	return call{typ: "multipart/form-data; boundary=b", body: body}
}

func TestFields(t *testing.T) {
	const all = `{"to":"user","body":"b","subject":"s","type":"normal","thread":"t","lang":"de","html":"<b>b</b>","oob":"https://x/","replace":"r","nick":"n","ttl":"1h"}`
	full := message.Message{To: "user@example.com", Body: "b", Subject: "s", Type: message.Normal, Thread: "t", Lang: "de",
		HTML: "<strong>b</strong>", OOB: message.OOB{URL: "https://x/"}, Replace: "r", Nick: "n", TTL: time.Hour}
	subject := func(s string) []message.Message {
		return []message.Message{{To: "user@example.com", Body: "x", Subject: s}}
	}
	titled := func(name, value string) call {
		return call{body: "x", header: map[string]string{name: value}}
	}
	const query = "subject=s&type=normal&thread=t&lang=de&html=%3Cb%3Eb%3C/b%3E&oob=https://x/&replace=r&nick=n&ttl=1h"
	for _, test := range []sending{
		{"JSON", call{typ: asJSON, body: all}, []message.Message{full}},
		{"form", call{typ: asForm, body: "body=b&" + query}, []message.Message{full}},
		{"query", call{path: "/msg/user?" + query + "&token=x&x=%", body: "b"}, []message.Message{full}},
		{"query of a form that is text", call{path: "/msg/user?" + query, typ: asForm, body: "b"}, []message.Message{full}},
		{"query does not add to a form", call{path: "/msg/user?subject=s", typ: asForm, body: "body=b"}, to("b", "user@example.com")},
		{"query does not add to JSON", call{path: "/msg/user?subject=s", typ: asJSON, body: `{"body":"b"}`}, to("b", "user@example.com")},
		{"ttl of seconds", call{typ: asJSON, body: `{"body":"b","ttl":90.5}`},
			[]message.Message{{To: "user@example.com", Body: "b", TTL: 90*time.Second + 500*time.Millisecond}}},
		{"ttl of seconds in a form", call{typ: asForm, body: "body=b&ttl=90"},
			[]message.Message{{To: "user@example.com", Body: "b", TTL: 90 * time.Second}}},
		{"empty fields are not there", call{typ: asForm, body: "body=b&type=&ttl=&thread=&html="}, to("b", "user@example.com")},
		{"thread without an id", call{typ: asJSON, body: `{"body":"b","thread":{"parent":"p"}}`}, to("b", "user@example.com")},

		{"Title", titled("Title", "Büro"), subject("Büro")},
		{"Subject", titled("Subject", "s"), subject("s")},
		{"encoded word", titled("Title", "=?UTF-8?Q?B=C3=BCro?= =?iso-8859-15?B?pA==?="), subject("Büro€")},
		{"encoded word of no charset", titled("Title", "=?x-none?Q?a?="), subject("=?x-none?Q?a?=")},
		{"Latin-1 header", titled("Subject", "B\xfcro"), subject("Büro")},
		{"field over header", call{path: "/msg/user?subject=s", body: "x", header: map[string]string{"Title": "t"}}, subject("s")},
		{"header for JSON", call{typ: asJSON, body: `{"body":"x"}`, header: map[string]string{"Title": "t"}}, subject("t")},
		{"header for a form", call{typ: asForm, body: `body=x`, header: map[string]string{"Title": "t"}}, subject("t")},
		{"title field", call{typ: asForm, body: "body=x&title=t"}, subject("t")},
		{"subject before title", call{typ: asJSON, body: `{"body":"x","title":"t","subject":"s"}`}, subject("s")},
	} {
		t.Run(test.name, test.run)
	}
	for _, typ := range []string{"", "info", "success", "warning", "failure", "chat"} {
		t.Run("type "+typ, sending{"", call{path: "/msg/user?type=" + typ, body: "x"}, to("x", "user@example.com")}.run)
	}
}
