package auth

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
)

// maxPasswordBytes is what servers take (RFC 4616 §2: a password of 255
// characters must be taken; ejabberd and Prosody prepare at most 1023 bytes).
const maxPasswordBytes = 1023

// maxAccountBytes is what a bare JID can have (RFC 7622 §3.1).
const maxAccountBytes = 2*1023 + 1

// Account gives whom a user name means, if that is somebody whose password could be
// checked here.
func (v *Verifier) Account(user string) (message.JID, error) {
	account, err := v.account(user)
	if _, served := v.hosts[account.Domain()]; err == nil && !served {
		return "", fault.New(fault.Unauthenticated, "%s is on none of auth.hosts", account)
	}
	return account, err
}

// account finds out whom a user name means. Its error is for names that mean
// nobody anywhere, which reveals nothing about accounts.
func (v *Verifier) account(user string) (message.JID, error) {
	bare, _, _ := strings.Cut(user, "/")
	if !strings.Contains(bare, "@") {
		if v.defaultDomain == "" {
			return "", fault.New(fault.Unauthenticated, "the user name has no domain: send the full address, such as me@example.com")
		}
		user = bare + "@" + v.defaultDomain
	}
	account, err := message.ParseAccount(user)
	if err != nil {
		return "", fault.New(fault.Unauthenticated, "the user name %v; it looks like me@example.com", err)
	}
	return account, nil
}

// possible reports whether any account can have this password. NUL separates
// the parts of a PLAIN message (RFC 4616 §2): one inside would shift them, and
// names have none already.
func possible(password secret.Value) bool {
	p := password.Reveal()
	return p != "" && len(p) <= maxPasswordBytes && utf8.ValidString(p) && !strings.ContainsRune(p, 0)
}

// readHosts checks the hosts and keys them by domain, in the form in which an
// account's domain arrives.
func readHosts(hosts []Host) (map[string]Host, error) {
	byDomain := make(map[string]Host, len(hosts))
	var mistakes []error
	for _, h := range hosts {
		domain, err := normalDomain(h.Domain)
		if err == nil {
			err = h.check()
		}
		if _, twice := byDomain[domain]; err == nil && twice {
			err = errors.New("is there twice")
		}
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("auth: host %q: %w", h.Domain, err))
			continue
		}
		h.Domain = domain
		byDomain[domain] = h
	}
	return byDomain, errors.Join(mistakes...)
}

// chooseDefault gives the domain of bare user names, empty when there is none.
func (v *Verifier) chooseDefault(configured string, hosts []Host) (string, error) {
	switch {
	case configured == "" && len(hosts) == 1:
		configured = hosts[0].Domain
	case configured == "":
		return "", nil
	}
	domain, err := normalDomain(configured)
	if err != nil {
		return "", fmt.Errorf("auth: default domain %q: %w", configured, err)
	}
	if _, served := v.hosts[domain]; !served {
		return "", fmt.Errorf("auth: default domain %q: is not one of the hosts", configured)
	}
	return domain, nil
}

func normalDomain(domain string) (string, error) {
	account, err := message.ParseAccount("x@" + domain)
	if err != nil {
		return "", err
	}
	if account.Local() != "x" || strings.ContainsAny(domain, "@/") {
		return "", errors.New("is not a domain")
	}
	return account.Domain(), nil
}
