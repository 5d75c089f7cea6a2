// Package token is what a token is: a text that lets whoever holds it send as its
// owner, within limits, so that no password has to lie in a script. It does no I/O:
// who keeps tokens is package store, who checks them package auth.
//
// A token is 32 random bytes. What is kept of it is a plain hash: nobody can guess
// what it is of, unlike with a password.
package token

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
)

const (
	prefix      = "ph_" // so that scanners for leaked secrets find it
	randomBytes = 32
	// defaultLife is how long a token lives unless its maker says otherwise.
	defaultLife = 90 * 24 * time.Hour
	// maxLife is the most that can be said.
	maxLife = 10 * 366 * 24 * time.Hour
	// MaxPerOwner bounds what one account can have kept.
	MaxPerOwner = 100

	maxName    = 64 // characters
	maxLimits  = 100
	maxSigning = 255 // bytes
)

// A Token is what is known of one.
type Token struct {
	Hash    string // names it; as Hash gives it
	Owner   message.JID
	Name    string // the owner's word for it, and different for each of theirs
	Created time.Time
	Expires time.Time
	Used    time.Time    // within the hour; zero: never
	Signing secret.Value // with which a sender of webhooks signs them; empty: they are not signed
	Limits
}

// Limits are what a token may be used for, less than what its owner may.
type Limits struct {
	Recipients []string       `json:"recipients,omitempty"` // bare JIDs, rooms and domains; none: any
	Templates  []string       `json:"templates,omitempty"`  // of webhooks; none: any, and messages without one
	Networks   []netip.Prefix `json:"networks,omitempty"`   // of the clients; none: any
	Rate       float64        `json:"rate,omitempty"`       // messages a second; 0: what the owner may
}

// A Request is what the maker of a token says about it, as it was written.
type Request struct {
	Name       string
	Life       string // as parseLife reads it
	Recipients []string
	Templates  []string
	Networks   []string // as ParseNetwork reads them
	Rate       float64
	Signing    secret.Value
}

// Make makes a token for its owner, and gives its text, which is kept nowhere. The
// error is a *fault.Error.
func (r Request) Make(owner message.JID, now time.Time) (t Token, text secret.Value, err error) {
	text = newText()
	t = Token{
		Hash: Hash(text), Owner: owner, Name: strings.TrimSpace(r.Name), Created: now.Truncate(time.Second), Signing: r.Signing,
		Limits: Limits{Recipients: slices.Clone(r.Recipients), Templates: r.Templates, Rate: r.Rate},
	}
	t.Expires, err = parseLife(r.Life, t.Created)
	for _, written := range r.Networks {
		network, networkErr := ParseNetwork(written)
		t.Networks, err = append(t.Networks, network), cmp.Or(err, networkErr)
	}
	if err = cmp.Or(err, t.check(now)); err != nil {
		return Token{}, secret.Value{}, fault.New(fault.Unsendable, "%v", err)
	}
	return t, text, nil
}

// newText makes the text of a token.
func newText() secret.Value {
	var random [randomBytes]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the program instead
	return secret.New(prefix + base64.RawURLEncoding.EncodeToString(random[:]))
}

// Is reports whether a text has the form of a token, and is not a password.
func Is(text string) bool {
	encoded, found := strings.CutPrefix(text, prefix)
	if !found {
		return false
	}
	random, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	return err == nil && len(random) == randomBytes
}

// Hash is what is kept of a token.
func Hash(text secret.Value) string {
	sum := sha256.Sum256([]byte(text.Reveal()))
	return hex.EncodeToString(sum[:])
}

// Valid reports whether t lives at that time.
func (t *Token) Valid(now time.Time) bool { return now.Before(t.Expires) }

// MaySendTo reports whether t is good for a recipient.
func (l *Limits) MaySendTo(to message.JID) bool {
	return len(l.Recipients) == 0 || to.In(l.Recipients)
}

// MayRender reports whether t is good for a webhook's template, or, where that is
// empty, for a message without one.
func (l *Limits) MayRender(template string) bool {
	return len(l.Templates) == 0 || slices.Contains(l.Templates, template)
}

// MayComeFrom reports whether t is good for a client at that address.
func (l *Limits) MayComeFrom(client netip.Addr) bool {
	return len(l.Networks) == 0 || slices.ContainsFunc(l.Networks, func(n netip.Prefix) bool { return n.Contains(client.Unmap()) })
}

// check gives t its one form, or says what is wrong with it.
func (t *Token) check(now time.Time) error {
	switch {
	case t.Name == "" || utf8.RuneCountInString(t.Name) > maxName || strings.ContainsFunc(t.Name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("name: has to be 1 to %d printable characters, such as backup@db1", maxName)
	case !t.Expires.After(now):
		return errors.New("expires: is over already")
	case t.Expires.Sub(now) > maxLife:
		return errors.New("expires: is more than ten years away")
	case len(t.Recipients) > maxLimits || len(t.Templates) > maxLimits || len(t.Networks) > maxLimits:
		return fmt.Errorf("recipients, templates, networks: at most %d each", maxLimits)
	case !(t.Rate >= 0 && t.Rate <= 1e6): // NaN too
		return errors.New("rate: has to be a number of messages a second")
	case len(t.Signing.Reveal()) > maxSigning:
		return fmt.Errorf("signing_secret: is longer than %d bytes", maxSigning)
	}
	return t.checkRecipients()
}

func (t *Token) checkRecipients() error {
	for i, written := range t.Recipients {
		to, err := message.ParseRecipient(written)
		if err == nil && to.IsBare() {
			t.Recipients[i] = string(to)
			continue
		}
		domain, err := message.ParseDomain(written)
		if err != nil || !strings.Contains(domain, ".") && domain != t.Owner.Domain() { // a name alone is meant to be somebody's
			return fmt.Errorf("recipients: %q has to be a JID such as user@example.com, or a domain", written)
		}
		t.Recipients[i] = domain
	}
	return nil
}

// parseLife reads when a token is to expire: a time from now, such as 90d, 12h or
// 30m, or a date, as in RFC 3339; "" means defaultLife.
func parseLife(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return now.Add(defaultLife), nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if at, err := time.Parse(time.DateOnly, text); err == nil {
		return at, nil
	}
	life, err := time.ParseDuration(text)
	if days, found := strings.CutSuffix(text, "d"); found {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 12)
		life = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || life <= 0 || life > maxLife {
		return time.Time{}, errors.New("expires: has to be a time such as 90d or 12h, ten years at most, or a date such as 2027-01-31")
	}
	return now.Add(life), nil
}

// ParseNetwork reads a network, or one address, and gives it the form in which
// those of clients are: an IPv4 address is one, even where it is written as IPv6.
func ParseNetwork(text string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(text)
	if err != nil {
		var address netip.Addr
		if address, err = netip.ParseAddr(text); err == nil {
			network, err = address.Prefix(address.BitLen())
		}
	}
	if mapped := netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96); err == nil && network.Addr().Is4In6() {
		network = mapped
	}
	if err != nil || !network.IsValid() || strings.Contains(text, "%") { // a zone
		return netip.Prefix{}, fmt.Errorf("networks: %q has to be an address or a network, such as 192.0.2.0/24", text)
	}
	return network.Masked(), nil
}
