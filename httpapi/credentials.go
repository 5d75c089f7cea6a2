package httpapi

import (
	"cmp"
	"encoding/base64"
	"strings"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
	"posthorn/internal/token"
)

// A credential is what a request says of who sends it.
type credential struct {
	user   string // a JID or a bare name; empty with a token that stands alone
	secret secret.Value
	token  bool // secret is one, and no password
}

// identify proves whose request it is, and that this account may send.
func (x *exchange) identify(c credential) error {
	var from message.JID
	var err error
	if c.token {
		x.bearer = c.user == ""
		if x.token, err = x.verifier.VerifyToken(x.r.Context(), c.user, c.secret, x.client()); err == nil {
			from = x.token.Owner
		}
	} else {
		from, err = x.verifier.Verify(x.r.Context(), c.user, c.secret, x.client())
	}
	if err != nil {
		return asFault(err)
	}
	switch err := x.MaySend(from); {
	case err != nil:
		return err
	case x.token != nil && !x.token.MayComeFrom(x.client()):
		return fault.New(fault.Forbidden, "the token is not for clients at %s", x.client())
	}
	x.from = from
	return nil
}

// credential reads the header Authorization, of RFC 7617 or RFC 6750, or else a
// token from elsewhere.
func (x *exchange) credential() (c credential, err error) {
	line, given, err := single(x.r.Header, "Authorization")
	switch {
	case err != nil:
		return c, err
	case !given:
		return x.credentialElsewhere()
	}
	return readAuthorization(line)
}

// readAuthorization reads the value of the header.
func readAuthorization(line string) (c credential, err error) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	rest = strings.TrimSpace(rest)
	switch { // RFC 9110 §11.1: in any case
	case strings.EqualFold(scheme, "Basic"):
		return basicCredential(rest)
	case strings.EqualFold(scheme, "Bearer") && rest != "":
		return credential{secret: secret.New(rest), token: true}, nil
	}
	return c, fault.New(fault.Unauthenticated, "the Authorization header has to be of the scheme Basic, with a JID and a password, or Bearer, with a token")
}

func basicCredential(encoded string) (c credential, err error) {
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		// The cause would quote the header.
		return c, fault.New(fault.Unauthenticated, "the credentials in the Authorization header are not base64")
	}
	pair := text(decoded)
	if alone := strings.Trim(pair, ":"); token.Is(alone) { // beside an empty name or password
		return credential{secret: secret.New(alone), token: true}, nil
	}
	c.user, c.secret, err = splitCredentials(pair)
	c.token = token.Is(c.secret.Reveal())
	return c, err
}

// credentialElsewhere finds the token of a client that can hold it nowhere but in the
// URL, or holds it where Gotify and ntfy have theirs.
func (x *exchange) credentialElsewhere() (c credential, err error) {
	given, err := x.asked("token")
	if err != nil {
		return c, err
	}
	given = cmp.Or(given, x.target.token)
	switch x.target.template {
	case "gotify":
		given = cmp.Or(given, x.r.Header.Get("X-Gotify-Key"))
	case "ntfy":
		if line := x.r.URL.Query().Get("auth"); line != "" && given == "" {
			return ntfyAuthorization(line)
		}
	}
	if given == "" {
		return c, fault.New(fault.Unauthenticated, "who is it? send the JID and the password of an account by HTTP Basic authentication, or a token")
	}
	return credential{secret: secret.New(given), token: true}, nil
}

// ntfyAuthorization reads the value of an Authorization header in base64.
func ntfyAuthorization(encoded string) (c credential, err error) {
	line, err := base64.RawStdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "/", "=", "").Replace(encoded))
	if err != nil { // which would quote it
		return c, fault.New(fault.Unauthenticated, "the parameter auth is no Authorization header in base64")
	}
	return readAuthorization(string(line))
}

// asked gives a parameter of the query that is no field of the message, but says
// what to do with it; "" where it is not there, or does not parse.
func (x *exchange) asked(name string) (string, error) {
	switch values := x.r.URL.Query()[name]; len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	}
	return "", fault.New(fault.Malformed, "%s: is given twice", name)
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
