package httpapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"posthorn/internal/fault"
)

// signatureAge is how old a signature with a time may be, and how far ahead the
// sender's clock.
const signatureAge = 5 * time.Minute

// A signer is how one sender of webhooks proves that a body is its own: by a header
// that holds what sign gives.
type signer struct {
	header string
	sign   func(secret string, header http.Header, body []byte) string
}

// signers are those that a token's signing secret works with. All but GitLab's, which
// sends the secret itself, are HMAC-SHA256 in hexadecimal, over the body as it came.
// Never written to.
var signers = [...]signer{
	{"X-Hub-Signature-256", func(secret string, _ http.Header, body []byte) string { return "sha256=" + macOf(secret, body) }}, // GitHub
	{"X-Gitea-Signature", func(secret string, _ http.Header, body []byte) string { return macOf(secret, body) }},
	{"X-Forgejo-Signature", func(secret string, _ http.Header, body []byte) string { return macOf(secret, body) }},
	{"X-Grafana-Alerting-Signature", grafanaSignature},
	{"X-Gitlab-Token", func(secret string, _ http.Header, _ []byte) string { return secret }},
}

func macOf(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

const grafanaTimestamp = "X-Grafana-Alerting-Timestamp" // where the contact point names it so; seconds since 1970

func grafanaSignature(secret string, header http.Header, body []byte) string {
	if stamp := header.Get(grafanaTimestamp); stamp != "" {
		return macOf(secret, append([]byte(stamp+":"), body...))
	}
	return macOf(secret, body)
}

// checkSignature refuses a body that is not signed with the secret of the token, if
// that has one. All signatures that are there have to be right.
func (x *exchange) checkSignature(body []byte) error {
	if x.token == nil || x.token.Signing.Empty() {
		return nil
	}
	signed := false
	for _, s := range signers {
		given, there, err := single(x.r.Header, s.header)
		switch {
		case err != nil:
			return err
		case !there:
			continue
		}
		want := s.sign(x.token.Signing.Reveal(), x.r.Header, body)
		if subtle.ConstantTimeCompare([]byte(strings.TrimSpace(given)), []byte(want)) != 1 {
			return fault.New(fault.Forbidden, "%s is not the signature of this body: the webhook and the token need the same secret", s.header)
		}
		signed = true
	}
	if !signed {
		return fault.New(fault.Forbidden, "the token has a signing secret, and the request has no signature: set the secret of the webhook")
	}
	return checkAge(x.r.Header.Get(grafanaTimestamp), time.Now())
}

// checkAge refuses a signed request that is sent again later by somebody else.
func checkAge(stamp string, now time.Time) error {
	if stamp == "" {
		return nil
	}
	at, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || now.Sub(time.Unix(at, 0)).Abs() > signatureAge {
		return fault.New(fault.Forbidden, "%s is more than %v off: set the clocks right", grafanaTimestamp, signatureAge)
	}
	return nil
}
