package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"posthorn/auth"
	"posthorn/component"
	"posthorn/httpapi"
	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// expiresSoon is when what ends is warned of: a renewal that works comes earlier.
const expiresSoon = 14 * 24 * time.Hour

// check tries the whole way of a message, short of sending one, and prints a
// line for each step, with what to change.
func check(ctx context.Context, p *program) int {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r := newReport(p)
	if p.as != "" {
		explain(r, &p.config, p.as, p.to)
		return r.exit()
	}
	from := p.configFile
	if from == "" {
		from = "the environment"
	}
	r.ok("configuration", "read from %s", from)
	running := findRunning(ctx, &p.config)
	checkPolicy(r, &p.config)
	checkLimits(r, &p.config)
	checkTemplates(r, &p.config)
	holder := checkStore(ctx, r, &p.config, running)
	checkListeners(r, &p.config, running)
	checkMetrics(ctx, r, &p.config)
	checkCertificate(r, &p.config)
	checkStream(ctx, r, &p.config, running, holder)
	checkHosts(ctx, r, &p.config)
	return r.exit()
}

// explain says whether who logs in by that user name may send, and to whom, by the
// rules that a request goes by. Nobody is asked: whether there is such an account, and
// what its password is, the server alone knows.
func explain(r *report, c *config, user, recipient string) {
	from := explainSender(r, c, user)
	if from != "" && recipient != "" {
		if to, err := c.rules().Recipient(recipient, from); err != nil {
			r.fail("recipient "+strconv.Quote(recipient), errors.New(fault.Of(err).Public), "change policy.recipients, or write to somebody else")
		} else {
			r.ok("recipient "+to.String(), "may be written to: policy.recipients is %s", c.Policy.Recipients)
		}
	}
}

// explainSender gives whom the user name means, "" where they may not send.
func explainSender(r *report, c *config, user string) message.JID {
	step := "sender " + strconv.Quote(user)
	options, err := c.auth(slog.New(slog.DiscardHandler), nil)
	if err != nil {
		r.fail("auth", err, authHint)
		return ""
	}
	verifier, err := auth.New(options)
	if err != nil {
		r.fail("auth", err, authHint)
		return ""
	}
	defer verifier.Close()
	from, err := verifier.Account(user)
	if err == nil {
		err = c.rules().MaySend(from)
	}
	if err != nil {
		r.fail(step, errors.New(fault.Of(err).Public), "change auth.hosts or policy.senders, or send as somebody else")
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

// authHint is for what keeps the passwords of all hosts from being checked.
const authHint = "compare auth.hosts with deploy/posthorn.yaml, which shows every key"

// checkStream connects as the component, unless a posthorn that works holds
// the domain: connecting beside it would end its stream. holder is who has the store and
// so may hold the domain too; "": nobody.
func checkStream(ctx context.Context, r *report, c *config, all running, holder string) {
	step := "component " + c.Component.Domain
	address := all.ready()
	switch {
	case holder == someHolder:
		r.warn(step, "mend the store first", "not tried: the store does not tell which posthorn is connected, and trying would end its connection")
		return
	case holder != "" && c.shares():
		r.ok(step, "in use by %s, which has the lease; its log says for which hosts (stop each posthorn that has the store to try here)", holder)
		return
	case address != "":
		r.ok(step, "in use by the posthorn that listens on %s and is ready; its log says for which hosts (stop it to try here)", address)
		return
	case holder != "" && len(all) == 0:
		r.warn(step, "stop that process to try here, or mend http.listen so that it answers", "not tried: %s has the store, so it may hold the domain too", holder)
		return
	}
	options := c.component(slog.New(slog.DiscardHandler), nil)
	hosts, err := component.New(options).Check(ctx, c.HTTP.MaxFile > 0)
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
		reportVoice(r, h)
		if h.Hint == "" && c.HTTP.MaxFile > 0 {
			reportUpload(r, h)
		}
	}
}

func reportVoice(r *report, h component.HostReport) {
	step := "speak for users of " + h.Host
	switch {
	case h.Hint != "":
		r.fail(step, errors.New("the server refuses"), h.Hint)
	case h.Tells:
		r.ok(step, "mode %s; the server tells when it cannot deliver", h.Mode)
	default:
		r.ok(step, "mode %s; the server does not tell when it cannot deliver, so messages are at best \"routed\"", h.Mode)
	}
}

func reportUpload(r *report, h component.HostReport) {
	step := "files of " + h.Host
	switch {
	case h.Upload == "":
		r.warn(step, h.UploadHint, "cannot be sent beside messages, which is all that this concerns (http.max_attachment: 0 ends the question)")
	case h.UploadLimit == math.MaxInt64:
		r.ok(step, "%s takes them", h.Upload)
	default:
		r.ok(step, "%s takes them, of up to %s", h.Upload, inBytes(h.UploadLimit))
	}
}

// checkHosts goes up to the login on every host.
func checkHosts(ctx context.Context, r *report, c *config) {
	options, err := c.auth(slog.New(slog.DiscardHandler), nil)
	if err != nil {
		r.fail("auth", err, authHint)
		return
	}
	verifier, err := auth.New(options)
	if err != nil {
		r.fail("auth", err, authHint)
		return
	}
	defer verifier.Close()
	for _, host := range c.Auth.Hosts {
		step := "passwords of " + host.Domain
		found, err := verifier.Check(ctx, host.Domain)
		if err != nil {
			hint := authHint
			var probe *auth.ProbeError
			if errors.As(err, &probe) {
				hint = probe.Hint()
			}
			r.fail(step, err, hint)
			continue
		}
		reportHost(r, step, found)
	}
}

func reportHost(r *report, step string, found auth.Report) {
	encryption := found.TLS
	if encryption == "" {
		encryption = "no TLS"
	}
	text := fmt.Sprintf("%s, %s, %s (offered: %s)", found.Address, encryption, found.Mechanism, strings.Join(found.Mechanisms, ", "))
	if found.TLS != "" && time.Until(found.Expires) < expiresSoon {
		r.warn(step, "renew the XMPP server's certificate: without it nobody's password can be checked", "%s; its certificate ends on %s", text, found.Expires.UTC().Format(time.DateOnly))
		return
	}
	r.ok(step, "%s", text)
}
