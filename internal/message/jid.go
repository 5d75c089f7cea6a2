package message

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
	"mellium.im/xmpp/jid"
)

// A JID is an XMPP address (RFC 7622) in the one form in which posthorn checks
// it, sends it and compares it. Only ParseAccount and ParseRecipient make one
// from what a stranger wrote.
type JID string

// The longest part of an address and the longest address there can be: three
// parts, '@' and '/' (RFC 7622 §3.1), in bytes.
const (
	maxPart = 1023
	maxJID  = 3*maxPart + 2
)

func (j JID) String() string { return string(j) }

// Bare is the JID without its resource.
func (j JID) Bare() JID {
	bare, _, _ := strings.Cut(string(j), "/")
	return JID(bare)
}

// IsBare reports whether the JID has no resource.
func (j JID) IsBare() bool { return !strings.Contains(string(j), "/") }

// Resource is the part behind the slash, empty where there is none.
func (j JID) Resource() string {
	_, resource, _ := strings.Cut(string(j), "/")
	return resource
}

// Local is the part before the '@', empty where there is none.
func (j JID) Local() string {
	local, _, found := strings.Cut(string(j.Bare()), "@")
	if !found {
		return ""
	}
	return local
}

// Domain is the part that names the server.
func (j JID) Domain() string {
	bare := string(j.Bare())
	return bare[strings.IndexByte(bare, '@')+1:]
}

// In reports whether a list of bare JIDs and domains has the JID or its domain.
func (j JID) In(list []string) bool {
	return slices.Contains(list, string(j.Bare())) || slices.Contains(list, j.Domain())
}

// Escaped is the bare JID in a form that a localpart can have (XEP-0106): no two
// give the same.
func (j JID) Escaped() string { return jid.Escape.String(string(j.Bare())) }

// isResource reports whether s can be the part behind the slash.
func isResource(s string) bool {
	_, err := jid.New("user", "example.com", s)
	return err == nil && s != "" && len(s) <= maxPart
}

// ParseAccount reads the address of an account, as its owner types it, and
// gives the bare JID: a resource is accepted and dropped.
func ParseAccount(s string) (JID, error) {
	j, err := ParseRecipient(s)
	if err != nil {
		return "", err
	}
	return j.Bare(), nil
}

// ParseDomain reads a domain, and gives it the form in which addresses have it.
func ParseDomain(s string) (string, error) {
	account, err := ParseRecipient("user@" + s)
	if err != nil || account.Local() != "user" || !account.IsBare() {
		return "", errors.New("is no domain")
	}
	return account.Domain(), nil
}

// ParseRecipient reads an address that a message can go to, which has a
// localpart and may have a resource.
func ParseRecipient(s string) (JID, error) {
	switch {
	case s == "":
		return "", errors.New("is empty")
	case len(s) > maxJID:
		return "", fmt.Errorf("is longer than %d bytes", maxJID)
	case !utf8.ValidString(s):
		return "", errors.New("is not UTF-8")
	}
	local, domain, resource, err := jid.SplitString(s)
	switch {
	case strings.IndexByte(s, '/') == len(s)-1:
		return "", errors.New("has a slash at its end and no resource behind it")
	case err != nil || local == "" || domain == "":
		return "", errors.New("is not a JID of the form user@domain")
	case max(len(local), len(domain), len(resource)) > maxPart:
		return "", fmt.Errorf("has a part that is longer than %d bytes", maxPart)
	}
	local, domain = lowerASCII(local), lowerASCII(domain)
	if resource == "" && isPlainName(local) && isPlainDomain(domain) {
		return JID(local + "@" + domain), nil
	}
	return byRules(local, domain, resource)
}

// byRules makes a JID of parts in lower case, if every server reads them alike.
func byRules(local, domain, resource string) (JID, error) {
	if strings.HasPrefix(domain, ".") || strings.Contains(domain, "..") {
		return "", errors.New("has an empty label in its domain")
	}
	parsed, err := jid.New(local, domain, resource)
	if err != nil {
		return "", fmt.Errorf("has a character that a JID cannot have in its %s", wrongPart(local, domain))
	}
	if parsed.Localpart() != local || !isFolded(local) || strings.ContainsAny(local, "\u200c\u200d") {
		return "", errors.New("has a name that not every server reads alike: write it in lower case, in composed letters")
	}
	if !sameDomain(parsed.Domainpart(), domain) || !isFolded(domain) {
		return "", errors.New("has a domain that not every server reads alike: write it as the server is configured")
	}
	if parsed.Resourcepart() != resource || !isPrepared(resource) {
		return "", errors.New("has a resource that not every server reads alike")
	}
	j := local + "@" + domain
	if resource != "" {
		j += "/" + resource
	}
	return JID(j), nil
}

// isPlainName and isPlainDomain know the addresses that everybody has, and that
// no rule of those below changes or refuses: they spare them the rules, which
// would take a tenth of what a message costs.
func isPlainName(local string) bool {
	for i := range len(local) {
		if c := local[i]; !isLetterDigit(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func isPlainDomain(domain string) bool {
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.Contains(label, "--") {
			return false
		}
		for i := range len(label) {
			if !isLetterDigit(label[i]) && label[i] != '-' {
				return false
			}
		}
	}
	return len(domain) <= 253
}

func isLetterDigit(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// wrongPart names the part for which the parser refused an address. The
// parser's own words are of PRECIS and IDNA, which nobody typed.
func wrongPart(local, domain string) string {
	if _, err := jid.New("", domain, ""); err != nil {
		return "domain"
	}
	if _, err := jid.New(local, domain, ""); err != nil {
		return "name"
	}
	return "resource"
}

// lowerASCII changes A to Z and nothing else. Two servers agree on no more
// than that: 865 code points are mapped differently by PRECIS (RFC 8265) and
// by the nodeprep that servers still use, so the other letters have to arrive
// in the form in which both leave them alone.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// isFolded reports whether full case folding leaves a name or a domain as it is.
// IDNA keeps ß and ς in a domain, which the nameprep that servers still use makes
// ss and σ: another domain. For ASCII without capitals it does, and need not be asked.
func isFolded(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return cases.Fold().String(s) == s
		}
	}
	return true
}

// isPrepared reports whether resourceprep leaves a resource as it is (RFC 3920
// appendix B, which servers still follow): it is NFKC where PRECIS is NFC, so that
// x² would become x2, which is another resource, and it drops U+1806, which PRECIS
// keeps.
func isPrepared(resource string) bool {
	return norm.NFKC.IsNormalString(resource) && !strings.Contains(resource, "\u1806")
}

// sameDomain compares what the parser made of a domain with what was written.
// PRECIS turns xn-- labels into letters and servers do not, so the written
// form is kept where only that differs.
func sameDomain(parsed, written string) bool {
	if parsed == written {
		return true
	}
	ascii, err := idna.ToASCII(parsed)
	return err == nil && ascii == written
}
