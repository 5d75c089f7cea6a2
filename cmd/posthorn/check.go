package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"posthorn/auth"
	"posthorn/component"
	"posthorn/httpapi"
	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/store"
)

// check tries the whole way of a message, short of sending one, and prints a
// line for each step, with what to change in the server's configuration.
func check(ctx context.Context, p *program) int {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r := &report{out: p.stdout}
	if p.as != "" {
		return explain(r, &p.config, p.as, p.to)
	}
	from := p.configFile
	if from == "" {
		from = "the environment"
	}
	r.ok("configuration", "read from %s", from)
	checkStore(r, &p.config)
	checkStream(ctx, r, &p.config)
	checkHosts(ctx, r, &p.config)
	if r.failed {
		return exitFailed
	}
	return exitOK
}

// explain says whether who logs in by that user name may send, and to whom, by the
// rules that a request goes by. Nobody is asked: whether there is such an account, and
// what its password is, the server alone knows.
func explain(r *report, c *config, user, recipient string) int {
	from := explainSender(r, c, user)
	if from != "" && recipient != "" {
		if to, err := c.rules().Recipient(recipient, from); err != nil {
			r.fail("recipient "+strconv.Quote(recipient), errors.New(fault.Of(err).Public), "")
		} else {
			r.ok("recipient "+to.String(), "may be written to: policy.recipients is %s", c.Policy.Recipients)
		}
	}
	if r.failed {
		return exitFailed
	}
	return exitOK
}

// explainSender gives whom the user name means, "" where they may not send.
func explainSender(r *report, c *config, user string) message.JID {
	step := "sender " + strconv.Quote(user)
	options, err := c.auth(slog.New(slog.DiscardHandler), nil)
	if err != nil {
		r.fail("auth", err, "")
		return ""
	}
	verifier, err := auth.New(options)
	if err != nil {
		r.fail("auth", err, "")
		return ""
	}
	defer verifier.Close()
	from, err := verifier.Account(user)
	if err == nil {
		err = c.rules().MaySend(from)
	}
	if err != nil {
		r.fail(step, errors.New(fault.Of(err).Public), "")
		return ""
	}
	who := "every account of auth.hosts may, since policy.senders is empty"
	if len(c.Policy.Senders) > 0 {
		who = "policy.senders has it or its domain"
	}
	r.ok("sender "+from.String(), "may send: %s", who)
	return from
}

// rules are those by which requests are answered.
func (c *config) rules() *httpapi.Handler {
	return httpapi.New(c.httpapi(nil, nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry()), nil, nil, nil)
}

// A report prints the lines of a check.
type report struct {
	out    io.Writer
	failed bool
}

func (r *report) ok(step, format string, args ...any) {
	fmt.Fprintf(r.out, "ok    %s: %s\n", step, fmt.Sprintf(format, args...))
}

func (r *report) fail(step string, err error, hint string) {
	r.failed = true
	fmt.Fprintf(r.out, "FAIL  %s: %v\n", step, err)
	if hint != "" {
		fmt.Fprintf(r.out, "      hint: %s\n", hint)
	}
}

// checkStore looks at the database as it is, since the service may be somebody
// else, who could not open what is made here.
func checkStore(r *report, c *config) {
	if c.storePath == "" {
		r.ok("store", "off: nothing is kept while the server is away")
		return
	}
	s := store.New(store.Options{Path: c.storePath, Beside: true})
	err := s.Open()
	switch {
	case errors.Is(err, fs.ErrPermission):
		r.ok("store", "%s: cannot be looked at by you; healthz of the running service tells how it is", c.storePath)
	case errors.Is(err, fs.ErrNotExist):
		r.ok("store", "%s: will be made when the service starts", c.storePath)
	case err != nil:
		r.fail("store", err, "")
	default:
		r.ok("store", "%s", c.storePath)
		start(s.Run)()
	}
}

// checkStream connects as the component, unless a posthorn that works holds
// the domain: connecting beside it would end its stream.
func checkStream(ctx context.Context, r *report, c *config) {
	step := "component " + c.Component.Domain
	if address := runningAt(ctx, c); address != "" {
		r.ok(step, "in use by the posthorn that listens on %s and is ready; its log says for which hosts (stop it to try here)", address)
		return
	}
	options := c.component(slog.New(slog.DiscardHandler), nil)
	hosts, err := component.New(options).Check(ctx, false)
	if err != nil {
		hint := options.Hint(err)
		if hint == "" {
			hint = fmt.Sprintf("is the server running, and does it listen for components on %s? Prosody does so only with Component %q in prosody.cfg.lua, ejabberd only with an ejabberd_service under listen in ejabberd.yml (posthorn server-config prints either); else change component.address", c.Component.Address, c.Component.Domain)
		}
		r.fail(step, err, hint)
		return
	}
	r.ok(step, "handshake accepted at %s", c.Component.Address)
	for _, h := range hosts {
		switch {
		case h.Hint != "":
			r.fail("speak for users of "+h.Host, errors.New("the server refuses"), h.Hint)
		case h.Tells:
			r.ok("speak for users of "+h.Host, "mode %s; the server tells when it cannot deliver", h.Mode)
		default:
			r.ok("speak for users of "+h.Host, "mode %s; the server does not tell when it cannot deliver, so messages are at best \"routed\"", h.Mode)
		}
	}
}

// checkHosts goes up to the login on every host.
func checkHosts(ctx context.Context, r *report, c *config) {
	options, err := c.auth(slog.New(slog.DiscardHandler), nil)
	if err != nil {
		r.fail("auth", err, "")
		return
	}
	verifier, err := auth.New(options)
	if err != nil {
		r.fail("auth", err, "")
		return
	}
	defer verifier.Close()
	for _, host := range c.Auth.Hosts {
		step := "passwords of " + host.Domain
		found, err := verifier.Check(ctx, host.Domain)
		var probe *auth.ProbeError
		if errors.As(err, &probe) {
			r.fail(step, err, probe.Hint())
			continue
		}
		if err != nil {
			r.fail(step, err, "")
			continue
		}
		encryption := found.TLS
		if encryption == "" {
			encryption = "no TLS"
		}
		r.ok(step, "%s, %s, %s (offered: %s)", found.Address, encryption, found.Mechanism, strings.Join(found.Mechanisms, ", "))
	}
}

// runningAt gives the address at which a posthorn with this configuration is
// ready to send, if there is one.
func runningAt(ctx context.Context, c *config) string {
	scheme, trust := "http", (*tls.Config)(nil)
	if c.HTTP.TLS.CertFile != "" {
		scheme, trust = "https", trustOnly(c.HTTP.TLS.CertFile)
	}
	for _, address := range c.HTTP.Listen {
		if isReady(ctx, address, scheme, trust) {
			return address
		}
	}
	return ""
}

// trustOnly accepts the certificate in that file, whatever name it is for.
func trustOnly(file string) *tls.Config {
	text, err := os.ReadFile(file) // #nosec G304 -- who runs posthorn names it
	if err != nil {
		return nil
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil || len(leaf.DNSNames) == 0 {
		return nil
	}
	trust := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: leaf.DNSNames[0]}
	trust.RootCAs.AddCert(leaf)
	return trust
}

func isReady(ctx context.Context, address, scheme string, trust *tls.Config) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	network, target := "tcp", address
	if path, unix := strings.CutPrefix(address, "unix:"); unix {
		network, target = "unix", path
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: trust, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, target)
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://localhost/readyz", nil)
	if err != nil {
		return false
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	var health struct{ Stream string }
	err = json.NewDecoder(io.LimitReader(response.Body, 1<<16)).Decode(&health)
	return err == nil && response.StatusCode == http.StatusOK && health.Stream == "up"
}
