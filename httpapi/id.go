package httpapi

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// maxKey bounds the header Idempotency-Key, in bytes.
const maxKey = 255

// keyHeaders are those by which a client says that two requests are the same one,
// sent again; the first that is there counts. GitLab sends Idempotency-Key with its
// webhooks, GitHub, Gitea and Forgejo the id of the delivery. Never written to.
var keyHeaders = [...]string{"Idempotency-Key", "X-Github-Delivery", "X-Gitea-Delivery", "X-Forgejo-Delivery"}

// idempotencyKey reads the key of a request; "" where there is none.
func idempotencyKey(header http.Header) (string, error) {
	for _, name := range keyHeaders {
		key, given, err := single(header, name)
		switch {
		case err != nil:
			return "", err
		case !given:
			continue
		case key == "" || len(key) > maxKey || strings.ContainsFunc(key, invisible):
			return "", fault.New(fault.Malformed, "the %s has to be 1 to %d visible ASCII characters, without spaces", name, maxKey)
		}
		return key, nil
	}
	return "", nil
}

func invisible(r rune) bool { return r <= ' ' || r > '~' }

// stanzaID names a message. In a scope it is the same for the same request, so
// that a recipient's client can tell a repetition (XEP-0359).
func stanzaID(scope string) string {
	if scope == "" {
		return rand.Text()
	}
	return scope[:32]
}

// scopeOf names what a key stands for: one sender's request to these recipients by
// this route. "" where there is no key.
func scopeOf(key string, from message.JID, to []message.JID, p page) string {
	if key == "" {
		return ""
	}
	hash := sha256.New()
	hash.Write([]byte(string(from) + "\x00" + key)) // no JID has a NUL, nor has a key
	for _, j := range to {
		hash.Write([]byte("\x00" + string(j)))
	}
	hash.Write([]byte("\x00" + string(p)))
	return hex.EncodeToString(hash.Sum(nil))
}

// digestOf is the same for two requests of one scope that ask for the same.
func digestOf(m *message.Message) string {
	text, _ := json.Marshal(m) // #nosec G117 -- only its hash is kept; our own plain struct always encodes
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
