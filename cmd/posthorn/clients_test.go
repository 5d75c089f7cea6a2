package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"posthorn/internal/xmpptest"
)

// TestClients: what these clients send has to arrive, as it is.
func TestClients(t *testing.T) { onBoth(t, testClients) }

func testClients(t *testing.T, p *xmpptest.Server) {
	h := startPosthorn(t, p).ready(t)
	user := p.MustLogin(t, "user@example.com", password)

	const crashed = "Server@host has just crashed!"
	basic := func(user string) string {
		return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)) + "\r\n"
	}
	full, local := basic("me@example.com"), basic("me")
	for _, test := range []struct {
		name  string
		curl  []string // its arguments; or
		raw   string   // the bytes, with LENGTH for the body's
		stdin string
		want  xmpptest.Message
	}{
		{name: "the README's curl", curl: []string{"URL/msg/user", "-u", "me@example.com:mypassword", "-H", "Content-Type: text/plain", "-d", crashed}, want: xmpptest.Message{Body: crashed}},
		{name: "curl to a full JID", curl: []string{"URL/msg/user@example.com", "-u", "me@example.com:mypassword", "-H", "Content-Type: text/plain", "-d", crashed}, want: xmpptest.Message{Body: crashed}},
		{name: "curl -d @-", curl: []string{"URL/msg/user", "-u", "me@example.com:mypassword", "-H", "Content-Type: text/plain", "-d", "@-"}, stdin: "one\ntwo\n", want: xmpptest.Message{Body: "onetwo"}},
		{name: "curl --data-binary @-", curl: []string{"URL/msg/user", "-u", "me@example.com:mypassword", "-H", "Content-Type: text/plain", "--data-binary", "@-"}, stdin: "one\r\ntwo\n", want: xmpptest.Message{Body: "one\ntwo\n"}},
		{name: "curl without a type", curl: []string{"URL/msg/user", "-u", "me:mypassword", "-d", "disk full"}, want: xmpptest.Message{Body: "disk full"}},
		{name: "curl without a type, with an equals sign", curl: []string{"URL/msg/user", "-u", "me:mypassword", "-d", "load=5 on host, 95% & more + some"}, want: xmpptest.Message{Body: "load=5 on host, 95% & more + some"}},
		{name: "curl --data-urlencode", curl: []string{"URL/msg/user", "-u", "me:mypassword", "--data-urlencode", "disk 95% & +full+"}, want: xmpptest.Message{Body: "disk 95% & +full+"}},
		{name: "curl --data-urlencode of a field", curl: []string{"URL/msg/user", "-u", "me:mypassword", "--data-urlencode", "body=a & b = c", "-d", "subject=s"}, want: xmpptest.Message{Body: "a & b = c", Subject: "s"}},
		{name: "curl with JSON and no type", curl: []string{"URL/msg/user", "-u", "me:mypassword", "-d", `{"body":"x"}`}, want: xmpptest.Message{Body: "x"}},
		{name: "curl --json", curl: []string{"URL/msg/", "-u", "me:mypassword", "--json", `{"to":"user","body":"x","subject":"s","id":"my-id"}`}, want: xmpptest.Message{Body: "x", Subject: "s", ID: "my-id"}},
		{name: "curl -F", curl: []string{"URL/msg/user", "-u", "me:mypassword", "-F", "message=from a form", "-F", "title=s"}, want: xmpptest.Message{Body: "from a form", Subject: "s"}},
		{name: "curl -T, chunked PUT", curl: []string{"URL/msg/user", "-u", "me:mypassword", "-T", "-"}, stdin: "piped\n", want: xmpptest.Message{Body: "piped\n"}},
		{name: "curl with a large body waits for 100 Continue", curl: []string{"URL/msg/user", "-u", "me:mypassword", "-H", "Expect: 100-continue", "-d", crashed}, want: xmpptest.Message{Body: crashed}},
		{name: "curl with a title", curl: []string{"URL/msg/user?type=normal", "-u", "me:mypassword", "-H", "Title: Grüße", "-d", crashed}, want: xmpptest.Message{Body: crashed, Subject: "Grüße", Type: "normal"}},
		{name: "a PHP client", raw: "POST http://host/msg/user@example.com HTTP/1.1\r\nHost: host\r\nContent-Type: text/plain\r\n" + full + "Content-Length: LENGTH\r\n\r\nGrüße, 世界 😀", want: xmpptest.Message{Body: "Grüße, 世界 😀"}},
		{name: "the same to mod_rest's path", raw: "POST /rest/message/chat/user@example.com HTTP/1.1\r\nHost: host\r\nContent-Type: text/plain\r\n" + local + "Content-Length: LENGTH\r\n\r\nGrüße", want: xmpptest.Message{Body: "Grüße"}},
		{name: "mod_rest's JSON", raw: "POST /rest HTTP/1.1\r\nHost: host\r\nContent-Type: application/json\r\n" + local + "Content-Length: LENGTH\r\n\r\n" +
			`{"kind":"message","type":"chat","to":"user@example.com","body":"Hello!","id":"ODOOODOO42","subject":"s","lang":"en","thread":{"id":"t1"},"oob":{"url":"https://media.example.org/a.jpg","desc":"pic"},"replace":"prev-id","markable":true}`,
			want: xmpptest.Message{Body: "Hello!", ID: "ODOOODOO42", Subject: "s", Thread: "t1", OOB: "https://media.example.org/a.jpg", Replace: "prev-id", Lang: "en"}},
		{name: "a base URL that ends in a slash", raw: "POST /msg//user@example.com HTTP/1.1\r\nHost: elsewhere.example\r\n" + full + "Content-Length: LENGTH\r\n\r\n" + crashed, want: xmpptest.Message{Body: crashed}},
		{name: "a percent-encoded JID", raw: "POST /msg/user%40example.com/ HTTP/1.1\r\nHost: host\r\n" + full + "Content-Length: LENGTH\r\n\r\n" + crashed, want: xmpptest.Message{Body: crashed}},
		{name: "no space after the colon", raw: "POST /msg/user HTTP/1.1\r\nHost: host\r\nContent-Type:text/plain\r\n" + local + "Content-Length: LENGTH\r\n\r\n" + crashed, want: xmpptest.Message{Body: crashed}},
		{name: "HTTP/1.0 without a Host", raw: "POST /msg/user HTTP/1.0\r\n" + local + "Content-Length: LENGTH\r\n\r\n" + crashed, want: xmpptest.Message{Body: crashed}},
		{name: "Python with json=", raw: "POST /msg HTTP/1.1\r\nHost: host\r\nUser-Agent: python-requests/2.32\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n" + full + "Content-Length: LENGTH\r\n\r\n" + `{"to": "user@example.com", "body": "x"}`, want: xmpptest.Message{Body: "x"}},
		{name: "Node's fetch", raw: "POST /msg/user HTTP/1.1\r\nhost: host\r\nconnection: keep-alive\r\ncontent-type: text/plain;charset=UTF-8\r\naccept: */*\r\naccept-language: *\r\nsec-fetch-mode: cors\r\nuser-agent: node\r\naccept-encoding: br, gzip, deflate\r\n" + full + "content-length: LENGTH\r\n\r\n" + crashed, want: xmpptest.Message{Body: crashed}},
		{name: "a notification tool", raw: "POST /msg/user HTTP/1.1\r\nHost: host\r\nContent-Type: application/json\r\n" + full + "Content-Length: LENGTH\r\n\r\n" + `{"title": "t", "message": "m", "type": "info"}`, want: xmpptest.Message{Body: "m", Subject: "t"}},
		{name: "Latin-1", raw: "POST /msg/user HTTP/1.1\r\nHost: host\r\nContent-Type: text/plain; charset=ISO-8859-1\r\n" + full + "Content-Length: LENGTH\r\n\r\nGr\xfc\xdfe", want: xmpptest.Message{Body: "Grüße"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.raw != "" {
				_, body, _ := strings.Cut(test.raw, "\r\n\r\n")
				a := h.exchange(t, strings.Replace(test.raw, "LENGTH", fmt.Sprint(len(body)), 1))
				if a.status != http.StatusCreated || a.Status != h.expected.local {
					t.Fatalf("answer is %d %s", a.status, a.raw)
				}
			} else {
				out, err := h.curl(test.stdin, test.curl...)
				if err != nil || !strings.HasSuffix(out, fmt.Sprintf(`"status":%q}`, h.expected.local)+"\n201") {
					t.Fatalf("curl says %v: %s", err, out)
				}
			}
			got := expect(t, user, "me@example.com", test.want.Body)
			wantType := test.want.Type
			if wantType == "" {
				wantType = "chat"
			}
			if got.Type == "" { // RFC 6121 §5.2.2; ejabberd takes the default out
				got.Type = "normal"
			}
			if got.From != "me@example.com" || got.Type != wantType || got.Subject != test.want.Subject || got.OOB != test.want.OOB ||
				got.Thread != test.want.Thread || got.Replace != test.want.Replace || got.OriginID != got.ID || got.ID == "" ||
				test.want.ID != "" && got.ID != test.want.ID || test.want.Lang != "" && got.Lang != test.want.Lang {
				t.Errorf("received %+v", got)
			}
		})
	}
}

// curl runs the real one; URL in its arguments is posthorn's. The output ends
// with the status.
func (h *posthorn) curl(stdin string, args ...string) (string, error) {
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "URL", h.URL)
	}
	cmd := exec.Command("curl", append([]string{"-s", "-w", "\n%{http_code}", "--max-time", "30"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.Output()
	return strings.ReplaceAll(string(out), "\n\n", "\n"), err
}

// exchange writes a request as it is and reads the answer.
func (h *posthorn) exchange(t *testing.T, request string) answer {
	t.Helper()
	conn := h.dialRaw(t, request)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := read(response)
	if err != nil {
		t.Fatalf("%v: %s", err, a.raw)
	}
	_ = conn.Close()
	return a
}
