package component

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"posthorn/internal/message"
	"posthorn/internal/stream"
)

// A Mode is how the component speaks for users, as configured.
type Mode string

const (
	// Auto takes Direct for each host whose users the server lets us speak
	// for, since it tells of failures, else Privilege.
	Auto Mode = "auto"
	// Direct puts the user's JID into from. The server must not check it.
	Direct Mode = "direct"
	// Privilege asks the user's host to send (XEP-0356).
	Privilege Mode = "privilege"
)

// A voice is how the component speaks for one host's users, as found out. The
// zero voice does not speak.
type voice struct {
	direct    bool   // with the user's JID in from
	tells     bool   // the server bounces what it cannot deliver to this host
	namespace string // of the privilege that the host advertised; empty: none
}

func (v voice) speaks() bool { return v.direct || v.namespace != "" }

func (v voice) String() string {
	switch {
	case v.direct:
		return string(Direct)
	case v.namespace != "":
		return string(Privilege)
	}
	return "refused"
}

const (
	// advertisementWait is how long a host may take to grant the privilege.
	// Prosody does so before anything else, ejabberd in its own time.
	advertisementWait = time.Second
	// retryDirectAfter is when a host that refused direct mode is asked again.
	// The question costs the connection, so it is only asked when there is a
	// new one anyway.
	retryDirectAfter = 10 * time.Minute
)

// errNotDirect ends a session whose server refused the question in
// [session.tryDirect]. The next one knows the answer.
var errNotDirect = errors.New("component: the server refuses to let the component speak for others")

// findVoices finds out how to speak for each host, before messages flow, so
// that no message is lost to the question.
func (s *session) findVoices(ctx context.Context) error {
	if s.c.opts.Mode != Privilege {
		if err := s.tryDirect(ctx); err != nil {
			return err
		}
	}
	if s.c.opts.Mode != Direct {
		s.awaitPrivilege(ctx)
	}
	for _, host := range s.c.opts.Hosts {
		v := s.c.voice(host)
		if !v.speaks() {
			s.c.opts.Log.Error("the XMPP server does not let the component speak for users of this host", "jid", host, "reason", s.c.opts.muteHint(host))
			continue
		}
		s.c.opts.Log.Info("the stream is up", "jid", host, "reason", v.String())
	}
	return ctx.Err()
}

// A question asks the server two things about one host: whether it takes a
// message in the name of that host's users (one to ourselves comes back, or
// ends the stream with invalid-from), and whether it tells what it cannot
// deliver there (one to nobody bounces, or does not).
type question struct {
	host     string
	toNobody *delivery
	bounced  chan bool // capacity 1: the outcome of toNobody
}

func (s *session) ask(host string) question {
	nobody := message.JID("posthorn-" + strings.ToLower(rand.Text()) + "@" + host)
	m := &message.Message{From: nobody, To: nobody, Type: message.Chat, ID: rand.Text()}
	bounced := make(chan bool, 1)
	d := &delivery{message: m, wireID: m.ID, told: func(o outcome) { bounced <- o.err != nil }}
	s.mu.Lock()
	s.echoes[m.ID] = false
	s.mu.Unlock()
	toSelf := *m
	toSelf.To = message.JID(s.c.opts.Domain)
	s.buf = appendMessage(s.buf, &toSelf, "", "", time.Time{})
	s.buf = appendMessage(s.buf, m, "", "", time.Time{})
	return question{host, d, bounced}
}

// tryDirect asks about every host that did not refuse lately.
func (s *session) tryDirect(ctx context.Context) error {
	var questions []question
	b := batch{barrier: rand.Text(), written: time.Now()}
	for _, host := range s.c.opts.Hosts {
		if refused, asked := s.c.notDirect[host]; asked && time.Since(refused) < retryDirectAfter {
			continue
		}
		q := s.ask(host)
		questions = append(questions, q)
		b.deliveries = append(b.deliveries, q.toNobody)
	}
	if len(questions) == 0 {
		return nil
	}
	s.buf = appendBarrier(s.buf, s.c.opts.Domain, b.barrier)
	s.inflight.add(b)
	s.lastBarrier = b.written
	if err := s.flush(); err != nil {
		return err
	}
	return s.hearAnswers(ctx, questions)
}

func (s *session) hearAnswers(ctx context.Context, questions []question) error {
	timeout := time.NewTimer(s.c.patience.stalled)
	defer timeout.Stop()
	for _, q := range questions {
		var bounced bool
		select {
		case bounced = <-q.bounced:
		case <-timeout.C:
			return errStalled
		case <-ctx.Done():
			return s.notDirect(questions)
		}
		if !s.cameBack(q) {
			s.c.notDirect[q.host] = time.Now()
			continue
		}
		delete(s.c.notDirect, q.host)
		s.c.learn(q.host, func(v *voice) { v.direct, v.tells = true, bounced })
	}
	return nil
}

// notDirect is what it means that the stream ended before the questions were
// answered. The server handles them in order, so what it blamed, with
// invalid-from (RFC 6120 §4.9.3.9) or otherwise, is the first that did not come
// back.
func (s *session) notDirect(questions []question) error {
	for _, q := range questions {
		if blamesContent(s.readError()) && !s.cameBack(q) {
			s.c.notDirect[q.host] = time.Now()
			return errNotDirect
		}
	}
	return context.Canceled
}

// cameBack reports whether the message to ourselves of q was received.
func (s *session) cameBack(q question) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.echoes[q.toNobody.message.ID]
}

// awaitPrivilege waits until no host is mute, but not for long.
func (s *session) awaitPrivilege(ctx context.Context) {
	timeout := time.NewTimer(advertisementWait)
	defer timeout.Stop()
	for s.c.mute() > 0 {
		select {
		case <-s.advertised:
		case <-timeout.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// privilege reads an advertisement: a host pushes what it grants us, and pushes
// again when that changes (XEP-0356 §5.2). Which version of the namespace it
// speaks is seen from it. Nobody but a host can send one in its name, and a
// host is only believed about itself.
func (s *session) privilege(e *stream.Element) {
	if s.c.opts.Mode == Direct || e.Attr("to") != s.c.opts.Domain {
		return
	}
	for _, namespace := range []string{"urn:xmpp:privilege:2", "urn:xmpp:privilege:1"} {
		advertised := e.Child(namespace, "privilege")
		if advertised == nil {
			continue
		}
		granted := ""
		for _, perm := range advertised.Children {
			if perm.Attr("access") == "message" && perm.Attr("type") == "outgoing" {
				granted = namespace
			}
		}
		host := e.Attr("from")
		before := s.c.voice(host)
		s.c.learn(host, func(v *voice) { v.namespace = granted })
		if after := s.c.voice(host); s.c.State() == Up && before != after {
			s.c.opts.Log.Info("the host's grant has changed", "jid", host, "reason", after.String())
		}
		notify(s.advertised)
		return
	}
}

// voice gives what is known of host.
func (c *Component) voice(host string) voice {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.voices[host]
}

// forgetVoices is for a new session, which finds out by itself.
func (c *Component) forgetVoices() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.voices)
}

// learn changes what is known of host, if it is one of ours.
func (c *Component) learn(host string, change func(*voice)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ours := range c.opts.Hosts {
		if ours == host {
			v := c.voices[host]
			change(&v)
			c.voices[host] = v
		}
	}
}

// mute gives how many hosts the component may not speak for.
func (c *Component) mute() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, host := range c.opts.Hosts {
		if !c.voices[host].speaks() {
			n++
		}
	}
	return n
}

// muteWhileUp is 0 where nothing is known, as at any other time.
func (c *Component) muteWhileUp() int {
	if c.State() != Up {
		return 0
	}
	return c.mute()
}

// muteHint says what to change in the server's configuration so that the
// component may speak for host. Which server it is has not been seen.
func (o Options) muteHint(host string) string {
	if o.Mode == Privilege {
		return fmt.Sprintf("grant the privilege and restart the server: in prosody.cfg.lua, privileged_entities = { [%q] = { message = \"outgoing\" } } in VirtualHost %q and modules_enabled = { \"privilege\" } in Component %q; in ejabberd.yml, outgoing under message of mod_privilege (posthorn server-config prints the lines)", o.Domain, host, o.Domain)
	}
	return fmt.Sprintf("set validate_from_addresses = false in Component %q of prosody.cfg.lua, or check_from: false at the ejabberd_service of %q in ejabberd.yml, and restart the server", o.Domain, o.Domain)
}
