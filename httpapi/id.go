package httpapi

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// maxKey bounds the header Idempotency-Key, in bytes.
const maxKey = 255

// idempotencyKey reads the header by which a client says that two requests are
// the same one, sent again; "" where there is none.
func idempotencyKey(header http.Header) (string, error) {
	key, given, err := single(header, "Idempotency-Key")
	switch {
	case err != nil || !given:
		return "", err
	case key == "" || len(key) > maxKey || strings.ContainsFunc(key, invisible):
		return "", fault.New(fault.Malformed, "the Idempotency-Key has to be 1 to %d visible ASCII characters, without spaces", maxKey)
	}
	return key, nil
}

func invisible(r rune) bool { return r <= ' ' || r > '~' }

// stanzaID names a message. With a key it is the same for the same request, so
// that a recipient's client can tell a repetition (XEP-0359).
func stanzaID(key string, from message.JID, to []message.JID, p page) string {
	if key == "" {
		return rand.Text()
	}
	hash := sha256.New()
	hash.Write([]byte(string(from) + "\x00" + key)) // no JID has a NUL, nor has a key
	for _, j := range to {
		hash.Write([]byte("\x00" + string(j)))
	}
	hash.Write([]byte("\x00" + string(p)))
	return hex.EncodeToString(hash.Sum(nil))[:32]
}
