package auth

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"

	"posthorn/internal/secret"
)

// RFC 5802 §5.1 asks for 4096 iterations at least. The most is what OWASP
// advises for PBKDF2; a server that asks for more could keep us busy for hours.
const (
	minIterations = 4096
	maxIterations = 600_000
)

// A plainExchange is PLAIN (RFC 4616). The authorization identity is always
// empty: ejabberd does not check it.
type plainExchange struct {
	name     string
	password secret.Value
}

func (p *plainExchange) start() (string, error) {
	return "\x00" + p.name + "\x00" + p.password.Reveal(), nil
}

func (p *plainExchange) step(string) (string, error) {
	return "", errors.New("PLAIN has no challenge")
}

func (p *plainExchange) proven() bool { return true }

// A scramExchange is SCRAM (RFC 5802).
type scramExchange struct {
	conversation *scram.ClientConversation
	err          error // why there is no conversation
	salted       bool  // the server's first message has come
}

// newSCRAM prepares the password by SASLprep, and takes it as it is where that
// refuses it, as servers do. The name goes as it was checked: prepared, it
// could be another account's.
func newSCRAM(hash scram.HashGeneratorFcn, name string, password secret.Value, b binding) *scramExchange {
	prepared, err := stringprep.SASLprep.Prepare(password.Reveal())
	if err != nil {
		prepared = password.Reveal()
	}
	client, err := hash.NewClientUnprepped(name, prepared, "")
	switch {
	case err != nil:
		return &scramExchange{err: err}
	case b.data.IsSupported():
		return &scramExchange{conversation: client.NewConversationWithChannelBinding(b.data)}
	case b.unasked:
		return &scramExchange{conversation: client.NewConversationAdvertisingChannelBinding()}
	}
	return &scramExchange{conversation: client.NewConversation()}
}

func (x *scramExchange) start() (string, error) {
	if x.err != nil {
		return "", x.err
	}
	return x.conversation.Step("")
}

func (x *scramExchange) step(challenge string) (string, error) {
	if !x.salted {
		x.salted = true
		if err := checkIterations(challenge); err != nil {
			return "", err
		}
	}
	return x.conversation.Step(challenge)
}

func (x *scramExchange) proven() bool { return x.conversation.Valid() }

// checkIterations looks at the server's first message before anything is
// computed from it: "r=…,s=…,i=…".
func checkIterations(first string) error {
	fields := strings.Split(first, ",")
	if len(fields) < 3 {
		return errors.New("SCRAM: no iteration count")
	}
	n, err := strconv.Atoi(strings.TrimPrefix(fields[2], "i="))
	if err != nil || n < minIterations || n > maxIterations {
		return fmt.Errorf("SCRAM: %s is not an iteration count from %d to %d", shorten(fields[2]), minIterations, maxIterations)
	}
	return nil
}
