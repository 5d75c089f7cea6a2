package auth

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"

	"gosrc.io/xmpp/stanza"

	"posthorn/internal/secret"
	"posthorn/internal/stream"
)

// maxSASLSteps is more than any mechanism here needs: SCRAM takes two, three
// with a server that sends its signature in a challenge of its own.
const maxSASLSteps = 4

// errNextMechanism says that the server cannot do this mechanism for this
// account, which is nothing about the password.
var errNextMechanism = errors.New("the server offers the mechanism and cannot do it")

// An exchange is one run of a mechanism.
type exchange interface {
	start() (string, error)                // the initial response
	step(challenge string) (string, error) // the response to a challenge, or to success with data
	proven() bool                          // as far as the mechanism goes, the server knows the password
}

// login authenticates. It gives nil, errRefused, or a *ProbeError.
func (s *session) login(name string, password secret.Value) error {
	s.told = true
	for _, m := range s.usable() {
		exchange := m.exchange(name, password)
		err := s.run(m.name, exchange)
		if !errors.Is(err, errNextMechanism) {
			return err
		}
	}
	return s.noMechanism()
}

func (s *session) noMechanism() error {
	return s.fail(NoMechanism, fmt.Errorf("the server offers %s", shorten(strings.Join(s.offered(), " "))))
}

// run is RFC 6120 §6.4.
func (s *session) run(mechanism string, x exchange) error {
	initial, err := x.start()
	if err != nil {
		return s.fail(Broken, err)
	}
	if err := s.sendXML(stanza.SASLAuth{Mechanism: mechanism, Value: encode(initial)}); err != nil {
		return err
	}
	for step := range maxSASLSteps {
		answer, err := s.next()
		if err != nil {
			return err
		}
		switch answer.Name {
		case xml.Name{Space: stanza.NSSASL, Local: "challenge"}:
			err = s.respond(x, answer)
		case xml.Name{Space: stanza.NSSASL, Local: "success"}:
			return s.accept(x, answer)
		case xml.Name{Space: stanza.NSSASL, Local: "failure"}:
			return s.refuse(answer, step == 0)
		default:
			err = s.unexpected(answer, "a step of SASL")
		}
		if err != nil {
			return err
		}
	}
	return s.fail(Broken, errors.New("SASL does not end"))
}

func (s *session) respond(x exchange, challenge *stream.Element) error {
	text, err := decode(challenge)
	if err != nil {
		return s.fail(Broken, err)
	}
	response, err := x.step(text)
	if err != nil {
		return s.fail(Broken, err)
	}
	return s.send("<response xmlns='" + stanza.NSSASL + "'>" + encode(response) + "</response>")
}

// accept believes the server's word only together with its proof: who does not
// know the password cannot say that this is it (RFC 5802 §3).
func (s *session) accept(x exchange, success *stream.Element) error {
	text, err := decode(success)
	if err == nil && text != "" {
		_, err = x.step(text)
	}
	if err != nil {
		return s.fail(Broken, err)
	}
	if !x.proven() {
		return s.fail(Broken, errors.New("success without the server's signature"))
	}
	return nil
}

// refuse sorts a failure (RFC 6120 §6.5): the credentials are wrong, the
// mechanism does not fit, or the server does not judge now. The text is not
// kept: who knows the password could put it there, and this goes to the log.
func (s *session) refuse(failure *stream.Element, first bool) error {
	condition, text := failure.Condition(stanza.NSSASL)
	switch condition {
	case "not-authorized":
		// ejabberd 23.01 says so of an account whose password is stored
		// hashed for another mechanism (2026-11).
		if strings.Contains(text, "Incompatible SCRAM methods") {
			return errNextMechanism
		}
		return errRefused
	case "account-disabled", "credentials-expired":
		return errRefused
	case "invalid-authzid":
		// None is sent: ejabberd means the name.
		return errRefused
	case "malformed-request":
		// Prosody answers a name or password so that its SASLprep refuses,
		// which no account has: at the first step. Later it is a channel
		// binding that does not match, which is not the user's fault.
		if first {
			return errRefused
		}
	case "invalid-mechanism":
		return errNextMechanism
	}
	return s.fail(NotNow, fmt.Errorf("SASL failure %s", shorten(condition)))
}

func (s *session) sendXML(v any) error {
	text, err := xml.Marshal(v)
	if err != nil {
		return s.fail(Broken, err)
	}
	return s.send(string(text))
}

func encode(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// decode reads what a challenge or success carries. A lone '=' is nothing at
// all (RFC 6120 §6.4.2).
func decode(e *stream.Element) (string, error) {
	text := strings.TrimSpace(e.Text)
	if text == "=" {
		return "", nil
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", fmt.Errorf("<%s>: %w", e.Name.Local, err)
	}
	return string(data), nil
}
