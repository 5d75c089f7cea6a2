package httpapi

import (
	"encoding/base64"
	"net/http"
	"strings"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
)

// sender proves whose request it is, and that this account may send.
func (x *exchange) sender(user string, password secret.Value) (message.JID, error) {
	from, err := x.verifier.Verify(x.r.Context(), user, password)
	if err != nil {
		return "", asFault(err)
	}
	if !x.maySend(from) {
		return "", fault.New(fault.Forbidden, "%s may not send: policy.senders lists who may", from)
	}
	return from, nil
}

func (h *Handler) maySend(from message.JID) bool {
	return len(h.senders) == 0 || h.senders[from] || h.senders[message.JID(from.Domain())]
}

// credentials reads the header Authorization of RFC 7617.
func credentials(header http.Header) (user string, password secret.Value, err error) {
	line, given, err := single(header, "Authorization")
	switch {
	case err != nil:
		return "", password, err
	case !given:
		return "", password, fault.New(fault.Unauthenticated, "who is it? send the JID and the password of an account by HTTP Basic authentication")
	}
	scheme, encoded, _ := strings.Cut(strings.TrimSpace(line), " ")
	if !strings.EqualFold(scheme, "Basic") { // RFC 9110 §11.1: in any case
		return "", password, fault.New(fault.Unauthenticated, "the Authorization header has to be of the scheme Basic, with a JID and a password")
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		// The cause would quote the header.
		return "", password, fault.New(fault.Unauthenticated, "the credentials in the Authorization header are not base64")
	}
	return splitCredentials(text(decoded))
}

// splitCredentials: a user name has no colon, a password may (RFC 7617 §2).
func splitCredentials(pair string) (user string, password secret.Value, err error) {
	user, clear, found := strings.Cut(pair, ":")
	switch {
	case !found:
		return "", password, fault.New(fault.Unauthenticated, "the credentials in the Authorization header have no colon between name and password")
	case user == "":
		return "", password, fault.New(fault.Unauthenticated, "the credentials in the Authorization header have no user name")
	case strings.Contains(pair, "\x00"):
		// SASL PLAIN (RFC 4616 §2) separates by NUL, so one could name another account.
		return "", password, fault.New(fault.Unauthenticated, "the credentials in the Authorization header have a NUL")
	}
	return user, secret.New(clear), nil
}
