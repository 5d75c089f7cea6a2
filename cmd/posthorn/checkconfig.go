package main

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"posthorn/internal/message"
	"posthorn/internal/render"
)

// hasHost reports whether a domain is one of auth.hosts.
func (c *config) hasHost(domain string) bool { return slices.Contains(c.domains(), domain) }

// checkPolicy looks for what the rules of the configuration cannot mean.
func checkPolicy(r *report, c *config) {
	warned := false
	for _, sender := range c.Policy.Senders {
		domain := sender
		if account, err := message.ParseAccount(sender); err == nil {
			domain = account.Domain()
		}
		if !c.hasHost(domain) {
			warned = true
			r.warn("policy", "correct it, or add its domain to auth.hosts", "policy.senders has %s, whose domain is none of auth.hosts: it lets nobody send", sender)
		}
	}
	for _, network := range c.proxies.networks {
		if network.Bits() == 0 {
			warned = true
			r.warn("policy", "name your reverse proxy's address alone", "http.trusted_proxies has %s: anybody can pretend to come from anywhere, and guess passwords unslowed", network)
		}
	}
	if warned {
		return
	}
	who := "every account of auth.hosts may send"
	if n := len(c.Policy.Senders); n > 0 {
		who = fmt.Sprintf("%d in policy.senders may send", n)
	}
	r.ok("policy", "%s, to %s recipients", who, c.Policy.Recipients)
}

// checkLimits looks for limits that contradict each other, or are none.
func checkLimits(r *report, c *config) {
	switch {
	case c.HTTP.MaxBody > c.Component.MaxStanza:
		r.warn("limits", "lower http.max_body, or raise component.max_stanza and the server's own limit with it", "http.max_body is %s and component.max_stanza %s: what is between them is taken and refused later (413)", inBytes(int64(c.HTTP.MaxBody)), inBytes(int64(c.Component.MaxStanza)))
	case c.Auth.Throttle.Failures == 0:
		r.warn("limits", "set auth.throttle.failures, such as 10", "auth.throttle.failures is 0: who guesses passwords is not slowed down")
	case c.Limits.MessagesPerSecond == 0:
		r.ok("limits", "a sender may send any number of messages; bodies of %s", inBytes(int64(c.HTTP.MaxBody)))
	default:
		r.ok("limits", "a sender may send %d messages a second, %d at once; bodies of %s", c.Limits.MessagesPerSecond, c.Limits.Burst, inBytes(int64(c.HTTP.MaxBody)))
	}
}

// checkTemplates reads the templates of webhooks as the service does.
func checkTemplates(r *report, c *config) {
	set := render.New(c.Hooks.Dir)
	err := set.Load()
	own, broken := 0, false
	for _, t := range set.List() {
		if t.Own {
			own++
		}
		if t.Broken != nil {
			broken = true
			file := filepath.Join(c.Hooks.Dir, t.Name+".tmpl")
			r.fail("templates", fmt.Errorf("%s: %w", file, t.Broken), "mend it, or move it away; a running posthorn reads it again after SIGHUP (systemctl reload posthorn)")
		}
	}
	switch {
	case broken:
	case err != nil:
		r.fail("templates", err, "let posthorn's user read hooks.dir and what is in it")
	case c.Hooks.Dir == "":
		r.ok("templates", "%d are built in", len(set.List()))
	default:
		r.ok("templates", "%d, of which %d are in %s", len(set.List()), own, c.Hooks.Dir)
	}
}

// checkCertificate looks at the certificate of http.tls.
func checkCertificate(r *report, c *config) {
	files, err := openCertificate(c, slog.New(slog.NewTextHandler(io.Discard, nil)))
	switch {
	case err != nil:
		r.fail("certificate", err, "cert_file and key_file have to fit each other, and posthorn's user has to be able to read both")
	case files != nil:
		reportCertificate(r, files.pair.Load().Leaf, c.HTTP.Listen)
	}
}

func reportCertificate(r *report, leaf *x509.Certificate, listen []string) {
	names := append([]string{}, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	text := fmt.Sprintf("for %s, until %s", cmp.Or(strings.Join(names, ", "), "nobody"), leaf.NotAfter.UTC().Format(time.DateOnly))
	switch left := time.Until(leaf.NotAfter); {
	case left < 0:
		r.fail("certificate", errors.New(text+": it has expired"), "renew it: a new one is in use within seconds")
	case time.Until(leaf.NotBefore) > 0:
		r.fail("certificate", errors.New(text+": it is not valid yet"), "set the clock, or get another one")
	case len(names) == 0:
		r.warn("certificate", "get one with subjectAltName", "%s: it names no host, so clients refuse it", text)
	case foreignName(leaf, listen) != "":
		r.warn("certificate", "get one for that name too, or let clients use the other", "%s: http.listen has %s", text, foreignName(leaf, listen))
	case left < expiresSoon:
		r.warn("certificate", "renew it: a new one is in use within seconds", "%s", text)
	default:
		r.ok("certificate", "%s", text)
	}
}

// foreignName gives a host that http.listen names and the certificate does not. What is an
// address there says nothing of the name by which clients come.
func foreignName(leaf *x509.Certificate, listen []string) string {
	for _, address := range listen {
		host, _, err := net.SplitHostPort(address)
		if err != nil || host == "" || host == "localhost" || net.ParseIP(host) != nil {
			continue
		}
		if leaf.VerifyHostname(host) != nil {
			return host
		}
	}
	return ""
}

// inBytes is a number of bytes for people.
func inBytes(n int64) string {
	unit := ""
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if n < 1<<10 || n < 10<<10 && n%(1<<10) != 0 {
			break
		}
		n, unit = n>>10, next
	}
	if unit == "" {
		unit = "bytes"
	}
	return fmt.Sprintf("%d %s", n, unit)
}
