// Package auth answers "is this really them?": it checks a user's password by
// asking the XMPP server whose user it is, on the server's client port, and
// remembers the answer for a while.
//
//  1. The user name becomes an account on one of the configured hosts. What
//     cannot be one is refused without asking anybody.
//  2. A verdict that is remembered, under an HMAC and never as a password, is
//     the answer.
//  3. Else one probe asks, whoever else waits for the same answer; there are
//     few at a time, and fewer for one account. Who has guessed least goes first,
//     and who has guessed too often has to wait: nobody is asked for them.
//  4. The probe finds the server, by configuration or DNS (RFC 6120 §3.2,
//     XEP-0368), opens a stream (§4), starts TLS and verifies the certificate
//     (§5, §13.7), and reads what the server offers.
//  5. It authenticates by the strongest mechanism offered (SASL: RFC 6120 §6;
//     SCRAM: RFC 5802, RFC 7677; channel binding: RFC 5929, RFC 9266,
//     XEP-0440; PLAIN: RFC 4616), binds a resource, since some servers decide
//     only then whether the account may use them (§7), and closes the stream.
//  6. Wrong password, unknown account and unknown host are one answer at one
//     time. A server that cannot be asked is another: it says nothing about
//     the password.
//  7. While the server is silent, which is to refuse connections or not to
//     answer in time, and messages are only kept, a password still counts that
//     it took lately. Any answer ends that, whatever it says.
//
// A token takes the place of a password: the store that keeps them is asked about it,
// and no server (token.go).
//
// It is not an XMPP client: it sends no presence and no message. Who may send,
// once known, is not decided here.
package auth

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
)

// Options say whom to ask, and how much to remember.
type Options struct {
	Hosts         []Host
	DefaultDomain string        // for a bare user name; default: the only host
	CacheTTL      time.Duration // how long a verdict is remembered; 0: not at all
	StaleTTL      time.Duration // how long a right password counts while the server is silent, if Keeping; 0: not at all
	Keeping       func() bool   // whether messages are only kept now, for want of a stream; nil: never
	CacheSize     int           // verdicts of each sort, good and bad
	Tokens        tokens        // nil: there are none
	Failures      int           // wrong passwords for an account from one network within Window; 0: any number
	Window        time.Duration // in which that many failures are forgotten
	// Guessed tells of each guess that counts, and stays counted, to whoever lets other
	// posthorns count it (GuessedElsewhere). It must not block. nil: nobody is told.
	Guessed func(account message.JID, network string)
	Log     *slog.Logger // nil: silent
	Metrics prometheus.Registerer

	// For tests; the defaults are those of package net.
	Dial     func(ctx context.Context, network, address string) (net.Conn, error)
	Resolver Resolver
}

// Answers are given at multiples of refusalStep after the question, because
// SCRAM refuses an unknown account at its first step and a wrong password at
// its second, and an unknown host is not asked at all.
const refusalStep = 250 * time.Millisecond

// A Verifier checks passwords. It is safe for use by many goroutines.
type Verifier struct {
	hosts         map[string]Host // by domain; immutable after New
	defaultDomain string
	log           *slog.Logger
	metrics       *metrics
	tokens        tokens // nil: there are none
	cache         *cache
	throttle      *throttle
	keeping       func() bool
	flights       map[string]*flights // by domain; immutable after New
	dialer        dialer
}

// New builds a Verifier, and asks nobody. The error joins what is wrong with
// each host.
func New(o Options) (*Verifier, error) {
	v := &Verifier{
		log:     o.Log,
		metrics: newMetrics(o.Metrics),
		cache:   newCache(o.CacheTTL, o.StaleTTL, o.Window, o.CacheSize),
		keeping: o.Keeping,
		tokens:  o.Tokens,
		flights: map[string]*flights{},
		dialer:  dialer{dial: o.Dial, resolver: o.Resolver},
	}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	v.throttle = newThrottle(o.Failures, o.Window, o.Guessed, v.log, v.metrics)
	if v.keeping == nil {
		v.keeping = func() bool { return false }
	}
	if v.dialer.dial == nil {
		v.dialer.dial = new(net.Dialer).DialContext
	}
	if v.dialer.resolver == nil {
		v.dialer.resolver = net.DefaultResolver
	}
	var err error
	if v.hosts, err = readHosts(o.Hosts); err != nil {
		return nil, err
	}
	for domain := range v.hosts {
		v.flights[domain] = newFlights(v.throttle)
	}
	v.defaultDomain, err = v.chooseDefault(o.DefaultDomain, o.Hosts)
	return v, err
}

// Close ends the probes under way and waits for them.
func (v *Verifier) Close() {
	for _, f := range v.flights {
		f.close()
	}
}

// A question is one password for one account, from somewhere.
type question struct {
	account  message.JID
	password secret.Value
	mac      fingerprint // of both
	from     network
}

// Verify checks a password that came from the client at that address, which is not
// valid for one on this machine that has none. It gives the bare JID whose it is.
// The error is a *fault.Error: Unauthenticated when the credentials are wrong,
// Throttled when too many from there were, Unavailable when the server cannot be
// asked now.
func (v *Verifier) Verify(ctx context.Context, user string, password secret.Value, client netip.Addr) (message.JID, error) {
	began := time.Now()
	account, err := v.account(user)
	if err != nil {
		return "", err
	}
	err = v.verdict(ctx, question{account, password, v.cache.mac(account, password), networkOf(client)})
	if err == nil {
		return account, nil
	}
	var slow *throttledError
	switch {
	case errors.Is(err, errRefused):
		return "", v.failed(ctx, began, account, client, "wrong user name or password")
	case errors.As(err, &slow):
		return "", tooMany(slow)
	case reasonOf(err, Broken) == Busy:
		v.metrics.probes.WithLabelValues(string(Busy)).Inc()
		return "", fault.Wrap(err, fault.Unavailable, "too many passwords are being checked: try again")
	}
	return "", fault.Wrap(err, fault.Unavailable, "the XMPP server for %s cannot check passwords now: try again later", account.Domain())
}

// failed says that credentials are wrong, to the client at the time at which all are
// told so, and in the log: deploy/fail2ban reads that line.
func (v *Verifier) failed(ctx context.Context, began time.Time, account message.JID, client netip.Addr, why string) error {
	v.log.Info("login failed", "jid", account, "addr", inLog(client))
	waitForStep(ctx, began, refusalStep)
	return fault.New(fault.Unauthenticated, "%s", why)
}

func tooMany(slow *throttledError) error {
	return fault.Wrap(slow, fault.Throttled, "too many wrong passwords came from your address: wait, as Retry-After says").After(slow.wait)
}

// verdict is nil for the account's password, errRefused for another one, and a
// *throttledError where it is not told. Any other error means that the server could
// not be asked.
func (v *Verifier) verdict(ctx context.Context, q question) error {
	host, served := v.hosts[q.account.Domain()]
	if !served || !possible(q.password) {
		return v.refuse(q)
	}
	switch verdict, home := v.cache.look(q.account, q.mac, q.from); verdict {
	case good:
		return v.accept(q, home, "hit")
	case bad:
		v.metrics.cache.WithLabelValues("negative").Inc()
		return v.refuse(q)
	}
	if home, revived := v.revives(q); revived {
		return v.accept(q, home, "stale")
	}
	err := v.flights[q.account.Domain()].share(ctx, v.ticket(q), func(ctx context.Context) error {
		return v.probe(ctx, host, q)
	})
	if err == nil {
		v.cache.settle(q.account, q.mac, q.from)
	} else if home, revived := v.revives(q); revived && ctx.Err() == nil {
		return v.accept(q, home, "stale")
	}
	v.metrics.cache.WithLabelValues("miss").Inc()
	return err
}

// accept lets a remembered password pass, whoever guesses, where it was right
// before. From elsewhere it is one more guess: one who has used up theirs would
// else learn from it which is right, as fast as they can ask.
func (v *Verifier) accept(q question, home bool, how string) error {
	if !home {
		if err := v.throttle.check(q.account, q.from); err != nil {
			return err
		}
		v.cache.settle(q.account, q.mac, q.from)
	}
	v.metrics.cache.WithLabelValues(how).Inc()
	return nil
}

// refuse counts a guess that nobody need be asked about, so that it does not
// differ from others.
func (v *Verifier) refuse(q question) error {
	if err := v.throttle.take(q.account, q.from); err != nil {
		return err
	}
	v.throttle.tell(q.account, q.from)
	return errRefused
}

// GuessedElsewhere counts a guess of which another posthorn was told by
// Options.Guessed, and tells nobody. A guess is known to others when it has its verdict:
// who guesses at several posthorns at once has as many more as are under way at the
// others then, once, and waits for them afterwards. What is malformed is ignored.
func (v *Verifier) GuessedElsewhere(account message.JID, network string) {
	var client netip.Addr
	if err := client.UnmarshalText([]byte(network)); err == nil && len(account) <= maxAccountBytes {
		v.throttle.owe(account, networkOf(client))
	}
}

// revives reports whether a password counts although nobody can be asked about
// it, and whether it came from there before. Its verdict grows no younger by that.
func (v *Verifier) revives(q question) (home, revived bool) {
	if !v.flights[q.account.Domain()].silence.lasts() {
		return false, false
	}
	verdict, home := v.cache.look(q.account, q.mac, q.from)
	return home, verdict == stale && v.keeping()
}

// ticket is a question's place in the queue. A password that was right lately is
// no guess, and one about which nobody could be asked is counted once, or those
// who try theirs again through an outage would be taken for guessers; but counted
// it is, since an answer that messages are kept tells the right one then.
func (v *Verifier) ticket(q question) ticket {
	verdict, home := v.cache.look(q.account, q.mac, q.from)
	likely := verdict == stale
	return ticket{
		account: q.account, mac: q.mac, from: q.from, likely: likely,
		free:   likely || v.cache.wasAsked(q.mac),
		exempt: likely && home,
	}
}

// probe asks the server, remembers its verdict, and logs why there was none:
// those who wait for it may all have gone.
func (v *Verifier) probe(ctx context.Context, host Host, q question) error {
	began := time.Now()
	err := v.ask(ctx, host, q.account, q.password)
	v.metrics.seconds.Observe(time.Since(began).Seconds())
	switch {
	case err == nil:
		v.cache.put(q.account, q.mac, good)
	case errors.Is(err, errRefused):
		v.cache.put(q.account, q.mac, bad)
	default:
		v.cache.unanswered(q.mac)
		v.log.Warn("password not checked", "jid", host.Domain, "err", err)
	}
	v.metrics.probes.WithLabelValues(outcome(err)).Inc()
	return err
}

// ask is one probe.
func (v *Verifier) ask(ctx context.Context, host Host, account message.JID, password secret.Value) error {
	s, err := v.dialer.open(ctx, host)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.login(account.Local(), password); err != nil {
		return err
	}
	return s.admitted(account)
}

// waitForStep returns at the next multiple of step after began, or when nobody
// waits any more.
func waitForStep(ctx context.Context, began time.Time, step time.Duration) {
	timer := time.NewTimer(step - time.Since(began)%step)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
