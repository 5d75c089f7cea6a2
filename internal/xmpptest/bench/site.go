package main

import (
	"context"
	"errors"
	"fmt"

	"posthorn/internal/xmpptest"
)

const (
	recipient = "user@" + xmpptest.Domain
	password  = "mypassword"
	rawDomain = "raw." + xmpptest.Domain
)

// eight senders: more than one, and few enough that each has several messages
// under way.
var eight = func() (names []string) {
	for i := range 8 {
		names = append(names, fmt.Sprintf("me%d@%s", i+1, xmpptest.Domain))
	}
	return names
}()

// A site is a Prosody with posthorn and a raw component beside it, and with a
// recipient who reads.
type site struct {
	prosody  *xmpptest.Prosody
	posthorn *posthorn
	raw      *raw
	inbox    inbox
}

// An inbox is the recipient, online and reading.
type inbox struct {
	user *xmpptest.Counter
	sent int // messages that must have come
}

// openInbox makes the accounts of the recipient and of all senders, and logs
// the recipient in.
func openInbox(ctx context.Context, server *xmpptest.Server) (i inbox, err error) {
	for _, account := range append([]string{recipient}, eight...) {
		if err := server.AddUser(account, password); err != nil {
			return i, err
		}
	}
	i.user, err = server.Count(ctx, recipient, password)
	return i, err
}

// await returns when the recipient has what was sent, too.
func (i *inbox) await(ctx context.Context, sent int) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	i.sent += sent
	return i.user.Await(ctx, i.sent)
}

func (i *inbox) close() {
	if i.user != nil {
		i.user.Close()
	}
}

// rawComponent lets the raw component speak as posthorn may.
const rawComponent = `
Component "` + rawDomain + `"
	component_secret = "` + xmpptest.ComponentSecret + `"
	validate_from_addresses = false
`

func openSite(ctx context.Context, binary string) (s *site, err error) {
	s = &site{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.prosody, err = xmpptest.Open(xmpptest.Options{Extra: rawComponent + sharedComponent}); err != nil {
		return s, err
	}
	if s.inbox, err = openInbox(ctx, &s.prosody.Server); err != nil {
		return s, err
	}
	if s.posthorn, err = startPosthorn(ctx, binary, s.prosody.ComponentAddress, &s.prosody.Server); err != nil {
		return s, err
	}
	s.raw, err = dialRaw(ctx, s.prosody.ComponentAddress, rawDomain)
	return s, err
}

func (s *site) close() (err error) {
	s.inbox.close()
	if s.raw != nil {
		s.raw.close()
	}
	if s.posthorn != nil {
		err = s.posthorn.stop()
	}
	if s.prosody != nil {
		err = errors.Join(err, s.prosody.Close())
	}
	return err
}
