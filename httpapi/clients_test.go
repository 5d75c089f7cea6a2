package httpapi

import (
	"bufio"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"posthorn/internal/message"
)

// lines joins a request's lines as the wire has them, puts in the right
// credentials and the body's length.
func lines(body string, header ...string) string {
	request := strings.Join(header, "\r\n") + "\r\n"
	request = strings.ReplaceAll(request, "{auth}", basic(me, password))
	request = strings.ReplaceAll(request, "{local}", basic("me", password))
	return request + "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
}

// TestClientsThatWorkUnmodified sends what clients of mod_post_msg and mod_rest
// send, byte by byte.
func TestClientsThatWorkUnmodified(t *testing.T) {
	const user = "user@example.com"
	payload := func(name string) string {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, test := range []struct {
		name    string
		request string
		want    message.Message // From, Type and a random ID added
	}{
		{"curl, the README's line", lines("Server@host has just crashed!",
			"POST /msg/user HTTP/1.1", "Host: localhost:5288", "Authorization: {auth}", "User-Agent: curl/8.5.0", "Accept: */*", "Content-Type: text/plain"),
			message.Message{To: user, Body: "Server@host has just crashed!"}},
		{"curl, a whole JID", lines("Server@host has just crashed!",
			"POST /msg/user@example.com HTTP/1.1", "Host: localhost:5288", "Authorization: {auth}", "User-Agent: curl/8.5.0", "Accept: */*", "Content-Type: text/plain"),
			message.Message{To: user, Body: "Server@host has just crashed!"}},
		{"curl, its default type", lines("disk full",
			"POST /msg/user HTTP/1.1", "Host: localhost:5288", "Authorization: {auth}", "User-Agent: curl/8.5.0", "Accept: */*", "Content-Type: application/x-www-form-urlencoded"),
			message.Message{To: user, Body: "disk full"}},
		{"curl, JSON by its default type", lines(`{"body":"x"}`,
			"POST /msg/user HTTP/1.1", "Host: localhost:5288", "Authorization: {auth}", "User-Agent: curl/8.5.0", "Accept: */*", "Content-Type: application/x-www-form-urlencoded"),
			message.Message{To: user, Body: "x"}},
		{"PHP, absolute form", lines("Build 42 failed",
			"POST http://localhost:5288/msg/user@example.com HTTP/1.1", "Host: localhost:5288", "Connection: close", "Authorization: {auth}", "Content-Type: text/plain"),
			message.Message{To: user, Body: "Build 42 failed"}},
		{"mod_rest's path, the localpart", lines("hello",
			"POST /rest/message/chat/user@example.com HTTP/1.1", "Host: localhost:5288", "Authorization: {local}", "Content-Type: text/plain"),
			message.Message{To: user, Body: "hello"}},
		{"mod_rest's JSON", lines(payload("modrest_message.json"),
			"POST /rest HTTP/1.1", "Host: localhost:5288", "Authorization: {local}", "Content-Type: application/json"),
			message.Message{To: "bob@example.com", Body: "Hello!", ID: "ODOOODOO42", Subject: "s", Lang: "en", Thread: "t1", Replace: "prev-id",
				OOB: message.OOB{URL: "https://media.example.org/a.jpg", Desc: "pic"}}},
		{"mod_post_msg's JSON", lines(payload("mod_post_msg.json"),
			"POST /msg HTTP/1.1", "Host: localhost:5288", "Authorization: {auth}", "Content-Type: application/json"),
			message.Message{To: "bob@example.com", Body: "hello"}},
		{"two slashes, a foreign host", lines("hello",
			"POST /msg//user@example.com HTTP/1.1", "Host: xmpp.elsewhere.example", "Authorization: {auth}", "Content-Type: text/plain"),
			message.Message{To: user, Body: "hello"}},
		{"no space after the colon", lines("hello",
			"POST /msg/user@example.com HTTP/1.1", "Host: localhost:5288", "Authorization:{auth}", "Content-Type:text/plain"),
			message.Message{To: user, Body: "hello"}},
		{"Python's json", lines(`{"to": "user@example.com", "type": "headline", "body": "Gr\u00fc\u00dfe \ud83d\ude00"}`,
			"POST /msg HTTP/1.1", "Host: localhost:5288", "User-Agent: python-requests/2.31.0", "Accept-Encoding: gzip, deflate", "Accept: */*", "Connection: keep-alive", "Content-Type: application/json", "Authorization: {auth}"),
			message.Message{To: user, Type: message.Headline, Body: "Grüße 😀"}},
		{"Node's fetch", lines("hello\r\nthere",
			"POST /msg/user HTTP/1.1", "host: localhost:5288", "connection: keep-alive", "authorization: {auth}", "content-type: text/plain;charset=UTF-8", "accept: */*", "accept-language: *", "sec-fetch-mode: cors", "user-agent: node", "accept-encoding: gzip, deflate"),
			message.Message{To: user, Body: "hello\nthere"}},
		{"a notifier's severity", lines(`{"title":"Job done","message":"backup of db-1","type":"info"}`,
			"POST /msg/user HTTP/1.1", "Host: localhost:5288", "Authorization: {auth}", "Content-Type: application/json"),
			message.Message{To: user, Subject: "Job done", Body: "backup of db-1"}},
		{"Slack's text", lines(payload("slack_text.json"),
			"POST /msg/user HTTP/1.1", "Host: localhost:5288", "Authorization: {auth}", "Content-Type: application/json"),
			message.Message{To: user, Body: "Deployment <https://ci.example.org/42|#42> finished &amp; healthy\nsecond line"}},
		{"Grafana's title and message", lines(payload("grafana_unified_firing.json"),
			"POST /msg/user HTTP/1.1", "Host: localhost:5288", "Authorization: {auth}", "Content-Type: application/json"),
			message.Message{To: user, Subject: "[FIRING:1] High load Node alerts (10.0.0.2:9100)",
				Body: "**Firing**\n\nValue: B=18.98, C=1\nLabels:\n - alertname = High load\n - instance = 10.0.0.2:9100\nAnnotations:\n - summary = 15m load average too high\nSource: http://grafana.example.org/alerting/grafana/abc123/view\n"}},
		{"chunked", "POST /msg/user HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + basic(me, password) + "\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n there\r\n0\r\n\r\n",
			message.Message{To: user, Body: "hello there"}},
		{"HTTP/1.0", lines("hello",
			"POST /msg/user HTTP/1.0", "Authorization: {auth}"),
			message.Message{To: user, Body: "hello"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(nil)
			got := wire(t, h.serve(t), test.request)
			checkAnswer(t, h, got)
			if got.status != 201 || got.member(t, "status") != "delivered" || got.member(t, "to") != string(test.want.To) {
				t.Fatalf("%d %s", got.status, got.body)
			}
			messages := h.deliverer.take()
			test.want.From = me
			if test.want.Type == "" {
				test.want.Type = message.Chat
			}
			ignored := cmpopts.IgnoreFields(message.Message{}, "ID")
			if test.want.ID != "" {
				ignored = nil
			}
			if diff := cmp.Diff([]message.Message{test.want}, messages, ignored); diff != "" {
				t.Fatal(diff)
			}
			if id := messages[0].ID; got.member(t, "id") != id || test.want.ID == "" && len(id) < 26 {
				t.Fatalf("the id %q in %s", id, got.body)
			}
		})
	}
}

// TestExpectContinue: curl waits for leave to send a large body; it gets it,
// or the refusal at once.
func TestExpectContinue(t *testing.T) {
	s := newHouse(nil).serve(t)
	for _, test := range []struct {
		name, length, body string
		want               []string // the answers' first lines
	}{
		{"within the limit", "5", "hello", []string{"HTTP/1.1 100 Continue", "HTTP/1.1 201 Created"}},
		{"over the limit", "65537", "", []string{"HTTP/1.1 413 Request Entity Too Large"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "POST /msg/user HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nExpect: 100-continue\r\nAuthorization: "+
				basic(me, password)+"\r\nContent-Length: "+test.length+"\r\n\r\n")
			in := bufio.NewReader(conn)
			for _, want := range test.want {
				line, err := in.ReadString('\n')
				if err != nil || strings.TrimSpace(line) != want {
					t.Fatalf("%q, %v; want %q", line, err, want)
				}
				if strings.Contains(line, "100") {
					_, _ = in.ReadString('\n')
					_, _ = io.WriteString(conn, test.body)
				}
			}
		})
	}
}
