package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/component"
	"posthorn/internal/xmpptest"
)

// TestCheck: what is wrong with a server is said, with what to change.
func TestCheck(t *testing.T) {
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			testCheck(t, expected[server.name], func(edits ...xmpptest.Edit) *xmpptest.Server { return server.start(t, edits...) })
		})
	}
}

func testCheck(t *testing.T, expected expectation, start func(...xmpptest.Edit) *xmpptest.Server) {
	sound := start()
	checked := start(xmpptest.Without(expected.checked))
	other := start(xmpptest.Replace("post.example.com", "other.example.com"))
	without := start(xmpptest.NoComponent)
	granted := start(xmpptest.Privilege)
	nothing := fmt.Sprintf("127.0.0.1:%d", xmpptest.MustFreePort(t))
	for _, test := range []struct {
		name     string
		server   *xmpptest.Server
		old, new string // in the configuration
		want     []string
		exit     int
	}{
		{"sound", sound, "", "", []string{"ok    component post.example.com", expected.tells, "ok    passwords of example.com", "TLS 1.3, SCRAM-SHA-1"}, 0},
		{"by privilege", granted, "", "", []string{"mode privilege", "\"routed\""}, 0},
		{"addresses are checked", checked, "", "", []string{"FAIL  speak for users of example.com", `hint: set validate_from_addresses = false in Component "post.example.com"`, "check_from: false"}, 1},
		{"no privilege", checked, "component:\n", "component:\n  mode: privilege\n", []string{"FAIL  speak for users of example.com", "privileged_entities", "mod_privilege"}, 1},
		{"wrong secret", sound, "change-me", "wrong", []string{"FAIL  component post.example.com", "hint: the secret is wrong", "component_secret", "ejabberd_service"}, 1},
		{"component not configured", other, "", "", []string{"FAIL  component post.example.com", expected.unknown}, 1},
		{"no component configured", without, "", "", []string{"FAIL  component post.example.com", `with Component "post.example.com" in prosody.cfg.lua`, "ejabberd_service"}, 1},
		{"nothing listens for components", sound, sound.ComponentAddress, nothing, []string{"FAIL  component post.example.com", "does it listen for components on " + nothing + "?"}, 1},
		{"nothing listens for clients", sound, sound.ClientAddress, nothing, []string{"FAIL  passwords of example.com", "does it listen for clients there?"}, 1},
		{"certificate not trusted", sound, ", ca_file: " + sound.CAFile, "", []string{"FAIL  passwords of example.com", "hint: nobody known has signed the certificate: set auth.hosts.ca_file"}, 1},
		{"a host that nobody serves", sound, "domain: example.com", "domain: elsewhere.example, server_name: example.com", []string{"FAIL  passwords of elsewhere.example", "hint: no server there serves this domain"}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, exit := runCheck(t, test.server, test.old, test.new)
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in:\n%s", want, out)
				}
			}
			if exit != test.exit {
				t.Errorf("exit %d, want %d:\n%s", exit, test.exit, out)
			}
		})
	}
}

// TestServerConfigWorks: the servers take what server-config prints for each
// mode, and posthorn can speak for users then.
func TestServerConfigWorks(t *testing.T) {
	lines := map[string]string{"Prosody": prosodyLines, "ejabberd": ejabberdLines}
	for _, server := range servers {
		for _, mode := range []component.Mode{component.Direct, component.Privilege} {
			t.Run(server.name+", "+string(mode), func(t *testing.T) {
				c := load(t, "../../deploy/posthorn.yaml")
				c.Component.Mode = string(mode)
				p := server.start(t, func(string) (string, error) {
					var printed strings.Builder
					err := writeLines(&printed, lines[server.name], &c)
					return printed.String(), err
				})
				out, exit := runCheck(t, p, "component:\n", "component:\n  mode: "+string(mode)+"\n")
				if exit != 0 || !strings.Contains(out, "mode "+string(mode)) {
					t.Errorf("exit %d:\n%s", exit, out)
				}
			})
		}
	}
}

// TestCheckForPrograms: an object a line, in which warnings are no failures.
func TestCheckForPrograms(t *testing.T) {
	p := prosodyWithUsers(t, xmpptest.Options{Uploads: true})
	h := startPosthorn(t, p, `store: ""`, fmt.Sprintf("store: %q", "sqlite:"+filepath.Join(t.TempDir(), "posthorn.db"))).ready(t)
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	defer h.start(t) // for who stops it in the end
	text := readText(t, h.Config) + "policy: {senders: [example.com, exmaple.com]}\n"
	if err := os.WriteFile(h.Config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, exit := checkFile(t, h.Config, "--json")
	if exit != 0 {
		t.Errorf("exit %d", exit)
	}
	var got []string
	for _, f := range readFindings(t, out) {
		step, _, _ := strings.Cut(f.Check, " ")
		got = append(got, string(f.Status)+" "+step)
	}
	want := []string{
		"ok configuration", "warning policy", "ok limits", "ok templates", "ok store", "ok tokens", "ok listener", "ok metrics",
		"ok component", "ok speak", "ok files", "ok passwords",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s in\n%s", diff, out)
	}
}

// runCheck runs `posthorn check` as a person would.
func runCheck(t *testing.T, p *xmpptest.Server, old, new string) (out string, exit int) {
	t.Helper()
	text := yamlFor(p, fmt.Sprintf("127.0.0.1:%d", xmpptest.MustFreePort(t)), "")
	if !strings.Contains(text, old) {
		t.Fatalf("the configuration has no %q", old)
	}
	if old != "" {
		text = strings.Replace(text, old, new, 1)
	}
	file := filepath.Join(t.TempDir(), "posthorn.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return checkFile(t, file)
}

func checkFile(t *testing.T, file string, flags ...string) (out string, exit int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "posthorn", append([]string{"check", "--config", file}, flags...)...)
	both, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(both), cmd.ProcessState.ExitCode()
}

// TestCheckBesideARunningOne: the check leaves the stream of a posthorn that
// works alone.
func TestCheckBesideARunningOne(t *testing.T) { onBoth(t, testCheckBesideARunningOne) }

func testCheckBesideARunningOne(t *testing.T, p *xmpptest.Server) {
	h := startPosthorn(t, p, `store: ""`, fmt.Sprintf("store: %q", "sqlite:"+filepath.Join(t.TempDir(), "posthorn.db"))).ready(t)
	out, exit := checkFile(t, h.Config)
	for _, want := range []string{
		"in use by the posthorn that listens on", fmt.Sprintf("in use by process %d", h.Pid()), ": posthorn unknown answers\n", ": posthorn answers\n", "0 can be used",
	} {
		if exit != 0 || !strings.Contains(out, want) {
			t.Fatalf("exit %d, without %q:\n%s", exit, want, out)
		}
	}
	if a := h.mustPost(t, "/msg/user", "x", nil); a.status != 201 {
		t.Fatalf("after the check: %d %s", a.status, a.raw)
	}
	if strings.Contains(h.log.String(), "stream lost") {
		t.Fatal("the check ended the stream")
	}
}

// TestTLS: with a certificate the listener speaks TLS alone, HTTP/2 too, and
// the check finds it.
func TestTLS(t *testing.T) {
	p := prosodyWithUsers(t, xmpptest.Options{})
	pair, err := p.CA.Issue("posthorn.example.com")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := xmpptest.WriteCertificate(pair, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")); err != nil {
		t.Fatal(err)
	}
	h := startPosthorn(t, p, "http:\n", fmt.Sprintf("http:\n  tls: {cert_file: %s/cert.pem, key_file: %s/key.pem}\n", dir, dir))
	port := h.URL[strings.LastIndexByte(h.URL, ':'):]
	base := []string{"--cacert", p.CAFile, "--connect-to", "posthorn.example.com" + port + ":127.0.0.1" + port}
	xmpptest.Wait(t, 10*time.Second, "posthorn is ready", func() bool {
		out, _ := h.curl("", append(base, "https://posthorn.example.com"+port+"/readyz")...)
		return strings.HasSuffix(out, "\n200")
	})
	out, err := h.curl("", append(base, "-w", "\n%{http_version}", "https://posthorn.example.com"+port+"/msg/user", "-u", "me:mypassword", "-d", "by TLS")...)
	if err != nil || !strings.Contains(out, `"status":"delivered"`) || !strings.HasSuffix(out, "\n2") {
		t.Fatalf("curl says %v: %s", err, out)
	}
	if out, exit := checkFile(t, h.Config); exit != 0 || !strings.Contains(out, "in use by the posthorn") {
		t.Fatalf("exit %d:\n%s", exit, out)
	}
}
