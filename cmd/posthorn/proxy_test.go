package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// startNginx runs Debian's, with the server that docs/operating.md shows, in front of h,
// and gives its address. Its own files lie in a directory, beside the certificate.
func startNginx(t *testing.T, h *posthorn, dir string) (address string) {
	t.Helper()
	address = fmt.Sprintf("127.0.0.1:%d", xmpptest.MustFreePort(t))
	site := textsIn(t, readPage(t, "docs/operating.md"), "nginx")[0]
	site = replaceAll(t, site,
		"listen 443 ssl", "listen "+address+" ssl",
		"/etc/letsencrypt/live/post.example.org/fullchain.pem", filepath.Join(dir, "cert.pem"),
		"/etc/letsencrypt/live/post.example.org/privkey.pem", filepath.Join(dir, "key.pem"),
		"http://127.0.0.1:5288", h.URL)
	var own strings.Builder
	fmt.Fprintf(&own, "daemon off; user root; pid %s/nginx.pid; error_log stderr; events {}\nhttp {\naccess_log off;\n", dir)
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&own, "%s_temp_path %s/%s;\n", kind, dir, kind)
	}
	config := filepath.Join(dir, "nginx.conf")
	writeFile(t, config, own.String()+site+"}\n")
	log := &lines{t: t}
	cmd := exec.Command("/usr/sbin/nginx", "-c", config, "-e", "stderr")
	cmd.Stderr = log
	process, err := xmpptest.StartProcess(cmd)
	if err != nil {
		t.Fatalf("nginx, of Debian's package of that name: %v", err)
	}
	t.Cleanup(func() {
		if err := process.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("nginx's log:\n%s", log)
		}
	})
	xmpptest.Wait(t, 10*time.Second, "nginx listens", func() bool { return xmpptest.Accepts(address) })
	return address
}

// TestProxy: behind nginx as docs/operating.md has it, messages pass as they were
// posted, a page of the same origin may post, and the address of who is refused is the
// client's, whatever the client says about it.
func TestProxy(t *testing.T) {
	p := prosodyWithUsers(t, xmpptest.Options{})
	h := startPosthorn(t, p, "http:\n", "http:\n  trusted_proxies: [127.0.0.1]\n").ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	dir := t.TempDir()
	pair, err := p.CA.Issue("post.example.org")
	if err != nil {
		t.Fatal(err)
	}
	if err := xmpptest.WriteCertificate(pair, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")); err != nil {
		t.Fatal(err)
	}
	address := startNginx(t, h, dir)
	_, port, _ := strings.Cut(address, ":")
	origin := "https://post.example.org:" + port
	curl := func(args ...string) string {
		t.Helper()
		out, err := h.curl("", append([]string{"--cacert", p.CAFile, "--resolve", "post.example.org:" + port + ":127.0.0.1", "--interface", "127.0.0.2"}, args...)...)
		if err != nil {
			t.Fatal(err, out)
		}
		return out[strings.LastIndexByte(out, '\n')+1:]
	}
	for _, test := range []struct {
		name, path, word string
		more             []string
		want             string
	}{
		{"a message", "/msg/user", password, nil, "201"},
		{"slashes as they come", "/msg//user%40example.com/", password, nil, "201"},
		{"a page of the same origin", "/msg/user", password, []string{"-H", "Origin: " + origin}, "201"},
		{"a page of another origin", "/msg/user", password, []string{"-H", "Origin: https://elsewhere.example"}, "403"},
		{"a wrong password", "/msg/user", "wrong", []string{"-H", "X-Forwarded-For: 192.0.2.9"}, "401"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := curl(append([]string{origin + test.path, "-u", "me@example.com:" + test.word, "-d", test.name}, test.more...)...)
			if got != test.want {
				t.Fatalf("answer is %s, want %s", got, test.want)
			}
			if got == "201" {
				expect(t, user, "me@example.com", test.name)
			}
		})
	}
	if log := h.log.String(); !strings.Contains(log, `msg="login failed" jid=me@example.com addr=127.0.0.2`) {
		t.Errorf("the log does not have the client's address:\n%s", log)
	}
}
