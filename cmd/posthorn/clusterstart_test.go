package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"posthorn/internal/pgtest"
	"posthorn/internal/xmpptest"
)

// storeSecret is the password in each URL, which nobody is to be shown.
const storeSecret = "hunter2hunter2"

// TestClusterWithoutStore: posthorn starts with a database that cannot be used, says why
// in one line, in its log and by its check, and goes on by itself when that is mended.
func TestClusterWithoutStore(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	at := func(role, database string) string {
		u := url.URL{Scheme: "postgres", User: url.UserPassword(role, storeSecret), Host: server.Address, Path: "/" + database, RawQuery: "sslmode=disable"}
		return u.String()
	}
	do := func(statements ...string) {
		t.Helper()
		if err := server.Do("", statements...); err != nil {
			t.Fatal(err)
		}
	}
	for _, role := range []string{"good", "guest", "reader"} {
		do("CREATE ROLE "+role+" LOGIN PASSWORD '"+storeSecret+"'", "CREATE DATABASE "+role)
	}
	do("ALTER DATABASE good OWNER TO good", "ALTER DATABASE reader OWNER TO reader",
		"ALTER DATABASE reader SET default_transaction_read_only = on", "CREATE ROLE wrong LOGIN PASSWORD 'another'")
	var wait sync.WaitGroup
	for _, test := range []struct {
		name, url, want string
		mend            []string
	}{
		{"wrong password", at("wrong", "good"), "does not let this user in: correct user and password, or pg_hba.conf", nil},
		{"no database", at("good", "none"), "does not exist: make the database (createdb)", []string{"CREATE DATABASE none OWNER good"}},
		{"no right to make tables", at("guest", "guest"), "does not let this user make or change tables: make it the owner of the database", []string{"ALTER DATABASE guest OWNER TO guest"}},
		{"read-only", at("reader", "reader"), "is a standby, or read-only: name the host that can be written", []string{"ALTER DATABASE reader RESET default_transaction_read_only"}},
		{"nobody listens", pgtest.MustAt(t, at("good", "good"), freeAddress(t)), "cannot be reached", nil},
		{"no authority", strings.Replace(at("good", "good"), "disable", "verify-full&sslrootcert=/nowhere.crt", 1), "names a file which posthorn's user cannot read: open /nowhere.crt", nil},
	} {
		wait.Go(func() {
			t.Run(test.name, func(t *testing.T) {
				nobody := &xmpptest.Server{Name: "Prosody", ComponentAddress: freeAddress(t), ClientAddress: freeAddress(t), CAFile: server.CAFile}
				i := &instance{posthorn: startPosthorn(t, nobody, `store: ""`, fmt.Sprintf("store: %q", test.url))}
				defer func() { _ = i.Kill() }() // or it would say farewell
				if saysWhy(t, i, test.want); test.mend != nil {
					recovers(t, i, server, test.mend)
				}
			})
		})
	}
	wait.Wait()
}

func recovers(t *testing.T, i *instance, server *pgtest.Server, mend []string) {
	t.Helper()
	if err := server.Do("", mend...); err != nil {
		t.Fatal(err)
	}
	xmpptest.Wait(t, 10*time.Second, "it works", func() bool { return i.status("/readyz") == http.StatusOK })
	xmpptest.Wait(t, time.Second, "the log says so", func() bool { return strings.Contains(i.log.String(), "messages can be kept again") })
}

// TestClusterCertificate: what the example's README makes is trusted for the address in
// the example's URL, and for no other.
func TestClusterCertificate(t *testing.T) {
	dir := t.TempDir()
	command := regexp.MustCompile(`(?s)openssl req .*?\.crt\n`).FindString(ofCluster(t, "README.md", "/etc/postgresql/15/main", dir))
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s%v\n%s", command, err, out)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "posthorn.crt"), filepath.Join(dir, "posthorn.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	_, line, _ := strings.Cut(ofCluster(t, "posthorn.yaml"), "\nstore: ")
	line, _, _ = strings.Cut(line, "\n")
	for host, want := range map[string]bool{mustParse(t, line).Hostname(): true, "10.0.0.9": false} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); (err == nil) != want {
			t.Errorf("for %s: %v", host, err)
		}
	}
}

// saysWhy: the log and the check of an instance without its database.
func saysWhy(t *testing.T, i *instance, want string) {
	t.Helper()
	xmpptest.Wait(t, 15*time.Second, "the log says why", func() bool { return strings.Contains(i.log.String(), "messages cannot be kept") })
	out := beside(t, i, exitFailed, "check")
	log, found := i.log.String(), 0
	for line := range strings.Lines(log) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "level=WARN") {
			found++
		}
	}
	if found != 1 || !strings.Contains(log, want) {
		t.Errorf("the log has %d lines, want one with %q:\n%s", found, want, log)
	}
	var said []string
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "FAIL  store: ") {
			said = append(said, line)
		}
	}
	if len(said) != 1 || !strings.Contains(said[0], want) || !strings.Contains(out, "warn  component post.example.com: not tried") {
		t.Errorf("check has %q, want one line with %q:\n%s", said, want, out)
	}
	for name, text := range map[string]string{"the log": log, "check": out} {
		if strings.Contains(text, storeSecret) || strings.Contains(text, "password=") {
			t.Errorf("%s shows the password:\n%s", name, text)
		}
	}
	a := i.mustPost(t, "/msg/user", "x", nil)
	if a.status != http.StatusServiceUnavailable || strings.Contains(a.raw, "postgres") {
		t.Errorf("answer is %d %s", a.status, a.raw)
	}
	if h := i.mustGet(t, "/healthz"); h.status != http.StatusOK || !strings.Contains(h.raw, `"store":"failing"`) || i.status("/readyz") != http.StatusServiceUnavailable {
		t.Errorf("healthz is %d %s", h.status, h.raw)
	}
}
