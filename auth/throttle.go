package auth

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"posthorn/internal/message"
	"posthorn/internal/quota"
)

const (
	// networkFactor is how many more failures a network may have than one account
	// from there: behind one address an office or a reverse proxy may be, whose
	// people each mistype now and then, and one who tries a few passwords with
	// each of many accounts is still slowed down. No success takes failures away:
	// a guesser may have an account of their own.
	networkFactor = 10
	// maxThrottled bounds the entries of each sort, and with them the memory, to
	// 4 MiB. The smallest debts are dropped first, so that nobody's is forgotten
	// over many addresses that came once.
	maxThrottled = 1 << 16
)

// Values of the label by.
const (
	byAccount = "account"
	byNetwork = "network"
)

// A network is where a client is, as far as it cannot choose: its IPv4 address, or
// the first half of its IPv6 address, since the other one is its own to change
// (RFC 4291 §2.5.1). The zero network is this machine, by a socket without
// addresses.
type network netip.Addr

func networkOf(client netip.Addr) network {
	client = client.Unmap().WithZone("")
	if client.Is6() {
		half, _ := client.Prefix(64)
		client = half.Addr()
	}
	return network(client)
}

// A pair is an account and where somebody claims to be it.
type pair struct {
	account message.JID
	from    network
}

// A throttle makes guessing slow without keeping anybody else out. It counts the
// wrong passwords from each network, for one account and for all of them, and the
// questions under way as if they were wrong: a thousand at once would else all be
// asked before the first answer. Of those counted, one is forgotten at each share
// of the window. The nil throttle lets everybody try.
type throttle struct {
	pairs    *quota.Table[pair]
	networks *quota.Table[network]
	guessed  func(message.JID, string) // of Options; nil: nobody is told
	log      *slog.Logger
	metrics  *metrics
}

func newThrottle(failures int, window time.Duration, guessed func(message.JID, string), log *slog.Logger, m *metrics) *throttle {
	if failures <= 0 || window <= 0 {
		return nil
	}
	each := max(1, window/time.Duration(failures))
	return &throttle{
		pairs:    quota.New[pair](failures, each, maxThrottled),
		networks: quota.New[network](failures*networkFactor, max(1, each/networkFactor), maxThrottled),
		guessed:  guessed,
		log:      log,
		metrics:  m,
	}
}

// A throttledError says that nobody was asked, and when the next guess is one
// that somebody is.
type throttledError struct{ wait time.Duration }

func (e *throttledError) Error() string {
	return fmt.Sprintf("auth: too many wrong passwords: the next one in %v", e.wait)
}

// check gives an error where take would, and counts nothing.
func (t *throttle) check(account message.JID, from network) error {
	if t == nil {
		return nil
	}
	if wait, first := t.pairs.Check(pair{account, from}); wait > 0 {
		return t.refuse(byAccount, account, from, wait, first)
	}
	if wait, first := t.networks.Check(from); wait > 0 {
		return t.refuse(byNetwork, account, from, wait, first)
	}
	return nil
}

// take counts a guess. The error is a *throttledError, and then it is no guess.
func (t *throttle) take(account message.JID, from network) error {
	if t == nil {
		return nil
	}
	if wait, first := t.pairs.Take(pair{account, from}, 1); wait > 0 {
		return t.refuse(byAccount, account, from, wait, first)
	}
	if wait, first := t.networks.Take(from, 1); wait > 0 {
		t.pairs.Give(pair{account, from}, 1)
		return t.refuse(byNetwork, account, from, wait, first)
	}
	return nil
}

// forgive takes back what was counted, of a password that proved right.
func (t *throttle) forgive(account message.JID, from network) {
	if t != nil {
		t.pairs.Give(pair{account, from}, 1)
		t.networks.Give(from, 1)
	}
}

// tell lets other posthorns count what take has counted here and nobody forgives.
func (t *throttle) tell(account message.JID, from network) {
	if t == nil || t.guessed == nil {
		return
	}
	text, _ := netip.Addr(from).MarshalText() // String has a text for none that nobody can read
	t.guessed(account, string(text))
}

// owe counts a guess that another posthorn has let be made, even where there is none
// left: who guesses at several at once then waits for all of them.
func (t *throttle) owe(account message.JID, from network) {
	if t != nil {
		t.pairs.Owe(pair{account, from})
		t.networks.Owe(from)
	}
}

// owes is how far guesses from there are behind those of others: what is counted
// of them, for the account and at all.
func (t *throttle) owes(account message.JID, from network) int {
	if t == nil {
		return 0
	}
	return t.pairs.Used(pair{account, from}) + t.networks.Used(from)
}

// refuse logs the first of many.
func (t *throttle) refuse(by string, account message.JID, from network, wait time.Duration, first bool) error {
	t.metrics.throttled.WithLabelValues(by).Inc()
	if first {
		t.log.Warn("too many failed logins", "jid", account, "addr", inLog(netip.Addr(from)), "reason", by)
	}
	return &throttledError{wait}
}

// inLog is an address as the log has it.
func inLog(client netip.Addr) string {
	if !client.IsValid() {
		return "unix"
	}
	return client.String()
}
