package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// An uploadServer is a server with an upload service, and what it is told.
type uploadServer struct {
	name  string
	start func(tb testing.TB, options string, edits ...xmpptest.Edit) *xmpptest.Server

	closed, small, quota string // options of the service that refuse posthorn, large files, many files
	full                 int    // the answer where there are too many
}

var uploadServers = []uploadServer{
	{
		name: "Prosody", closed: `http_file_share_access = { "example.com" }`, small: "http_file_share_size_limit = 1000",
		quota: "http_file_share_daily_quota = 1500", full: http.StatusServiceUnavailable,
		start: func(tb testing.TB, options string, edits ...xmpptest.Edit) *xmpptest.Server {
			return &xmpptest.StartProsody(tb, xmpptest.Options{Uploads: true, UploadOptions: options, Component: edits, Extra: fmt.Sprintf("Component %q \"muc\"", rooms)}).Server
		},
	},
	{
		name: "ejabberd", closed: "access: local", small: "access: [{allow: {server: post.example.com}}]\n    max_size: 1000",
		start: func(tb testing.TB, options string, edits ...xmpptest.Edit) *xmpptest.Server {
			return &xmpptest.StartEjabberd(tb, xmpptest.EjabberdOptions{Uploads: true, UploadOptions: options, Component: edits}).Server
		},
	},
}

// onUploads runs a test beside each of them.
func onUploads(t *testing.T, options func(uploadServer) string, test func(*testing.T, uploadServer, *xmpptest.Server), edits ...xmpptest.Edit) {
	for _, server := range uploadServers {
		t.Run(server.name, func(t *testing.T) {
			p := server.start(t, options(server), edits...)
			p.Users(t, password, "me@example.com", "user@example.com")
			test(t, server, p)
		})
	}
}

func asAdvised(uploadServer) string { return "" }

// download gets what a link leads to, as a client does.
func download(t testing.TB, p *xmpptest.Server, link string) (content []byte, header http.Header) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: p.CA.Pool()}}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if content, err = io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s is %s, %v", link, response.Status, err)
	}
	return content, response.Header
}

// TestAttachments: what curl sends is what is downloaded from the link that arrives.
func TestAttachments(t *testing.T) { onUploads(t, asAdvised, testAttachments) }

func testAttachments(t *testing.T, _ uploadServer, p *xmpptest.Server) {
	h := startPosthorn(t, p).ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	dir := t.TempDir()
	write := func(name string, content []byte) []byte {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		return content
	}
	large := make([]byte, 5<<20)
	_, _ = rand.Read(large)
	write("large", large)
	picture := write("graph 1.png", append([]byte("\x89PNG\r\n\x1a\n"), large[:1000]...))
	log := write("big.log", bytes.Repeat([]byte("Grüße \x1b[31mred\x1b[0m\n"), 10000))
	small := write("small.txt", []byte("small\n"))
	const excerpt = "Grüße red\nGrüße red\nGrüße red\nGrüße red\nGrüße red\n…\n"
	for _, test := range []struct {
		name string
		curl []string
		want []byte
		text string // before the link
		end  string // of the link
	}{
		{"-F", []string{"URL/msg/user", "-F", "file=@" + dir + "/graph 1.png"}, picture, "", "/graph_1.png"},
		{"-F with a text", []string{"URL/msg/user", "-F", "file=@" + dir + "/graph 1.png", "-F", "body=load is high", "-F", "subject=s"}, picture, "load is high\n", "/graph_1.png"},
		{"-F with a name", []string{"URL/msg", "-F", "to=user", "-F", "f=@-;filename=x.bin"}, small, "", "/x.bin"},
		{"5 MiB", []string{"URL/msg/user", "-F", "f=@" + dir + "/large"}, large, "", "/large"},
		{"-T", []string{"URL/msg/user?attach=1&filename=graph.png", "-T", dir + "/graph 1.png"}, picture, "", "/graph.png"},
		{"--data-binary of a picture", []string{"URL/msg/user?attach=1", "-H", "Content-Type: image/png", "--data-binary", "@" + dir + "/graph 1.png"}, picture, "", "/file.png"},
		{"a large log", []string{"URL/msg/user?attach=1", "-H", "Content-Type: text/plain", "--data-binary", "@" + dir + "/big.log"}, log, excerpt, "/message.txt"},
		{"a large log without a type", []string{"URL/msg/user?attach=1", "--data-binary", "@" + dir + "/big.log"}, log, excerpt, "/message.txt"},
		{"a large log from a pipe", []string{"URL/msg/user?attach=1&filename=big.log", "-T", "-"}, log, excerpt, "/big.log"},
		{"a small text", []string{"URL/msg/user?attach=1", "--data-binary", "@" + dir + "/small.txt"}, nil, "small\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			stdin := string(small)
			if strings.Contains(test.name, "pipe") {
				stdin = string(log)
			}
			out, err := h.curl(stdin, append([]string{"-u", "me:mypassword"}, test.curl...)...)
			if err != nil || !strings.HasSuffix(out, fmt.Sprintf(`"status":%q}`, h.expected.local)+"\n201") {
				t.Fatalf("curl says %v: %s", err, out)
			}
			m := user.MustReceive(t)
			if test.want == nil {
				if m.Body != test.text || m.OOB != "" {
					t.Errorf("received %s", m.Raw)
				}
				return
			}
			if m.Body != test.text+m.OOB || !strings.HasPrefix(m.OOB, "https://"+p.UploadAddress+"/") || !strings.HasSuffix(m.OOB, test.end) {
				t.Fatalf("received %s", m.Raw)
			}
			got, header := download(t, p, m.OOB)
			if !bytes.Equal(got, test.want) {
				t.Errorf("downloaded %d bytes, other than the %d that were sent", len(got), len(test.want))
			}
			t.Log(header["Content-Type"], header["Content-Disposition"])
		})
	}
	send := exec.Command("posthorn", "send", "--attach", filepath.Join(dir, "large"), "user", "by", "send")
	send.Env = append(os.Environ(), "POSTHORN_URL="+h.URL, "POSTHORN_JID=me@example.com", "POSTHORN_PASSWORD="+password, "HOME="+dir)
	if out, err := send.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if m := user.MustReceive(t); m.Body != "by send\n"+m.OOB || m.OOB == "" {
		t.Errorf("received %s", m.Raw)
	} else if got, _ := download(t, p, m.OOB); !bytes.Equal(got, large) {
		t.Errorf("downloaded %d bytes, other than those that posthorn send sent", len(got))
	}
	a, err := h.postPicture("/msg/"+opsRoom(t, p)+"?type=groupchat", nil)
	if err != nil || a.status != http.StatusCreated || a.Status != "delivered" {
		t.Errorf("to a room the answer is %d %s, %v", a.status, a.raw, err)
	}
}

// opsRoom makes a room.
func opsRoom(t *testing.T, p *xmpptest.Server) string {
	t.Helper()
	room := "ops@" + rooms
	owner := p.MustLogin(t, "user@example.com", password)
	owner.MustSend(t, "<presence to='"+room+"/owner'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
	for {
		m, err := owner.ReceiveOther(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(m.Raw, "code='201'") || strings.Contains(m.Raw, `code="201"`) {
			break
		}
	}
	if _, err := owner.Query(t.Context(), "set", room, "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>"); err != nil {
		t.Fatal(err)
	}
	return room
}

const pictureSize = 1001

// postPicture sends a picture of pictureSize bytes from me@example.com.
func (h *posthorn) postPicture(path string, change func(*http.Request)) (answer, error) {
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	return h.post(path+separator+"attach=1", strings.Repeat("x", pictureSize), func(r *http.Request) {
		r.Header.Set("Content-Type", "image/png")
		if change != nil {
			change(r)
		}
	})
}

// TestAttachmentRefused: where the service does not take posthorn's files, the answer
// says which line is missing; with that line it does, and users' own all the same.
func TestAttachmentRefused(t *testing.T) {
	onUploads(t, func(s uploadServer) string { return s.closed }, func(t *testing.T, server uploadServer, p *xmpptest.Server) {
		h := startPosthorn(t, p).ready(t)
		user := p.MustLogin(t, "user@example.com", password)
		a, err := h.postPicture("/msg/user", nil)
		if err != nil || a.status != http.StatusForbidden {
			t.Fatalf("answer is %d %s, %v", a.status, a.raw, err)
		}
		for _, line := range []string{`"post.example.com" in http_file_share_access of Component "upload.example.com" in prosody.cfg.lua`, `{allow: {server: post.example.com}} in access of mod_http_upload in ejabberd.yml`} {
			if !strings.Contains(a.Detail, line) {
				t.Errorf("the detail %q lacks %q", a.Detail, line)
			}
		}
		h.mustPost(t, "/msg/user", "the last", nil)
		expect(t, user, "me@example.com", "the last")

		text, err := os.ReadFile(p.Config)
		if err != nil {
			t.Fatal(err)
		}
		file, old, line := p.Config, server.closed, `access: [{allow: {server: post.example.com}}, {allow: local}]`
		if server.name == "Prosody" {
			file, line = filepath.Join(p.Dir, "posthorn.cfg.lua"), `http_file_share_access = { "example.com", "post.example.com" }`
			if text, err = os.ReadFile(file); err != nil {
				t.Fatal(err)
			}
		}
		if !strings.Contains(string(text), old) {
			t.Fatalf("%s has no %s", file, old)
		}
		if err := os.WriteFile(file, []byte(strings.Replace(string(text), old, line, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		h.ready(t)
		if a, err := h.postPicture("/msg/user", nil); err != nil || a.status != http.StatusCreated {
			t.Fatalf("answer is %d %s, %v", a.status, a.raw, err)
		}
		m, err := p.MustLogin(t, "me@example.com", password).Query(t.Context(), "get", "upload.example.com", "<request xmlns='urn:xmpp:http:upload:0' filename='x' size='1'/>")
		if err != nil || m.Type != "result" {
			t.Errorf("a user's own file is refused: %v %s", err, m.Raw)
		}
	})
}

// TestAttachmentTooLarge: by the service's limit, and by posthorn's own.
func TestAttachmentTooLarge(t *testing.T) {
	onUploads(t, func(s uploadServer) string { return s.small }, func(t *testing.T, _ uploadServer, p *xmpptest.Server) {
		h := startPosthorn(t, p).ready(t)
		a, err := h.postPicture("/msg/user", nil)
		if err != nil || a.status != http.StatusRequestEntityTooLarge || !strings.Contains(a.Detail, "larger than 1000 bytes (the limit of the XMPP server's upload service)") {
			t.Errorf("answer is %d %s, %v", a.status, a.raw, err)
		}
	})
}

// TestAttachmentQuota: one account's is used up, and another's is not.
func TestAttachmentQuota(t *testing.T) {
	server := uploadServers[0]
	p := server.start(t, server.quota)
	p.Users(t, password, "me@example.com", "user@example.com")
	h := startPosthorn(t, p).ready(t)
	for i, want := range []int{http.StatusCreated, server.full} {
		a, err := h.postPicture("/msg/user", nil)
		if err != nil || a.status != want {
			t.Fatalf("answer %d is %d %s, %v", i, a.status, a.raw, err)
		}
		if want != http.StatusCreated && (a.header.Get("Retry-After") != "3600" || !strings.Contains(a.Detail, "Daily quota reached")) {
			t.Errorf("answer is %v %s", a.header, a.raw)
		}
	}
	if a, err := h.postPicture("/msg/user", func(r *http.Request) { r.SetBasicAuth("user", password) }); err != nil || a.status != http.StatusCreated {
		t.Errorf("another's answer is %d %s, %v", a.status, a.raw, err)
	}
}

// TestAttachmentNowhere: no service, no server, and a service that is not let in there
// by privilege mode either.
func TestAttachmentNowhere(t *testing.T) { onBoth(t, testAttachmentNowhere) }

func testAttachmentNowhere(t *testing.T, p *xmpptest.Server) {
	h := startPosthorn(t, p).ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	a, err := h.postPicture("/msg/user", nil)
	if err != nil || a.status != http.StatusServiceUnavailable || !strings.Contains(a.Detail, `no upload service for example.com that answers: add Component "upload.example.com" "http_file_share" to prosody.cfg.lua, or mod_http_upload to ejabberd.yml`) {
		t.Errorf("without a service the answer is %d %s, %v", a.status, a.raw, err)
	}
	h.mustPost(t, "/msg/user", "the last", nil)
	expect(t, user, "me@example.com", "the last")
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	xmpptest.Wait(t, 10*time.Second, "the stream is down", func() bool { return h.status("/readyz") == http.StatusServiceUnavailable })
	a, err = h.postPicture("/msg/user", nil)
	if err != nil || a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || !strings.Contains(a.Detail, "no place for a file") {
		t.Errorf("without a server the answer is %d %s, %v", a.status, a.raw, err)
	}
}

// TestAttachmentByPrivilege: files need no direct mode.
func TestAttachmentByPrivilege(t *testing.T) {
	onUploads(t, asAdvised, func(t *testing.T, _ uploadServer, p *xmpptest.Server) {
		h := startPosthorn(t, p).ready(t)
		user := p.MustLogin(t, "user@example.com", password)
		if a, err := h.postPicture("/msg/user", nil); err != nil || a.status != http.StatusCreated || a.Status != "routed" {
			t.Fatalf("answer is %d %s, %v", a.status, a.raw, err)
		}
		m := user.MustReceive(t)
		if got, _ := download(t, p, m.OOB); m.Body != m.OOB || len(got) != pictureSize {
			t.Errorf("received %s, and %d bytes", m.Raw, len(got))
		}
	}, xmpptest.Privilege)
}

// TestAttachmentOnce: a request that is sent again uploads nothing again, also after a
// restart; one with another file is another request.
func TestAttachmentOnce(t *testing.T) {
	onUploads(t, asAdvised, func(t *testing.T, _ uploadServer, p *xmpptest.Server) {
		h := startPosthorn(t, p, `store: ""`, fmt.Sprintf("store: %q", "sqlite:"+filepath.Join(t.TempDir(), "posthorn.db"))).ready(t)
		user := p.MustLogin(t, "user@example.com", password)
		keyed := func(r *http.Request) { r.Header.Set("Idempotency-Key", "k") }
		var ids []string
		for range 3 {
			a, err := h.postPicture("/msg/user", keyed)
			if err != nil || a.status != http.StatusCreated || a.Status != h.expected.local {
				t.Fatalf("answer is %d %s, %v", a.status, a.raw, err)
			}
			if ids = append(ids, a.ID); len(ids) == 2 {
				if err := h.Stop(); err != nil {
					t.Fatal(err)
				}
				h.start(t)
				h.ready(t)
			}
		}
		a, err := h.post("/msg/user?attach=1", strings.Repeat("y", pictureSize), func(r *http.Request) {
			r.Header.Set("Content-Type", "image/png")
			keyed(r)
		})
		if err != nil || a.status != http.StatusUnprocessableEntity {
			t.Errorf("the answer to another file is %d %s, %v", a.status, a.raw, err)
		}
		m := user.MustReceive(t)
		if ids[0] != m.ID || ids[0] != ids[1] || ids[0] != ids[2] {
			t.Errorf("the ids are %v, and %s", ids, m.ID)
		}
		h.mustPost(t, "/msg/user", "the last", nil)
		expect(t, user, "me@example.com", "the last")
		if uploaded := regexp.MustCompile(`posthorn_upload_files_total\{outcome="\w+"\} [1-9].*`).FindAllString(h.metrics(t), -1); len(uploaded) != 0 { // since the restart
			t.Errorf("counted are %v", uploaded)
		}
	})
}

// TestAttachmentsDocumented: beside servers with the very lines of docs/attachments.md,
// each curl there sends a file.
func TestAttachmentsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/attachments.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(language string) string {
		found := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindSubmatch(text)
		if found == nil {
			t.Fatalf("the page has no %s", language)
		}
		return string(found[1])
	}
	for name, start := range map[string]func(t *testing.T, port int) *xmpptest.Server{
		"Prosody": func(t *testing.T, port int) *xmpptest.Server {
			global := fmt.Sprintf("http_ports = {}\nhttps_ports = { %d }\nhttps_interfaces = { \"127.0.0.1\" }\nhttps_ssl = ssl\nhttp_default_host = \"upload.example.com\"\nhttp_external_url = \"https://127.0.0.1:%[1]d/\"", port)
			return &xmpptest.StartProsody(t, xmpptest.Options{Global: global, Extra: block("lua")}).Server
		},
		"ejabberd": func(t *testing.T, port int) *xmpptest.Server {
			here := strings.NewReplacer("port: 5443", fmt.Sprintf("port: %d\n    ip: 127.0.0.1", port), "upload.example.com:5443", fmt.Sprintf("127.0.0.1:%d", port))
			return &xmpptest.StartEjabberd(t, xmpptest.EjabberdOptions{Extra: here.Replace(block("yaml"))}).Server
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, xmpptest.MustFreePort(t))
			p.Users(t, password, "me@example.com", "user@example.com")
			runDocumented(t, startPosthorn(t, p).ready(t), p, string(text))
		})
	}
}

// runDocumented runs the lines of a page that send a file, and fetches what is received.
func runDocumented(t *testing.T, h *posthorn, p *xmpptest.Server, text string) {
	t.Helper()
	user := p.MustLogin(t, "user@example.com", password)
	dir := t.TempDir()
	for _, name := range []string{"graph.png", "report.pdf", "build.log"} {
		content := append([]byte("\x89PNG\r\n\x1a\n"), bytes.Repeat([]byte("line\n"), 20000)...)
		if err := os.WriteFile(filepath.Join(dir, name), content[:100000], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lines := regexp.MustCompile(`(?m)^    (curl .*)$`).FindAllStringSubmatch(text, -1)
	if len(lines) < 5 {
		t.Fatalf("the page has %d lines", len(lines))
	}
	for _, line := range lines {
		cmd := exec.Command("sh", "-c", strings.ReplaceAll(line[1], "http://localhost:5288", h.URL)+" --silent --show-error --max-time 60")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), fmt.Sprintf(`"status":%q`, h.expected.local)) {
			t.Errorf("%s: %v: %s", line[1], err, out)
			continue
		}
		m := user.MustReceive(t)
		if content, _ := download(t, p, m.OOB); len(content) != 100000 || !strings.HasSuffix(m.Body, m.OOB) {
			t.Errorf("%s: received %s, with %d bytes", line[1], m.Raw, len(content))
		}
	}
}
