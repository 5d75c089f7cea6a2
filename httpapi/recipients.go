package httpapi

import (
	"slices"
	"strings"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// maxRecipients bounds what one request can set off.
const maxRecipients = 100

// recipients reads the addresses that a request names. One that is wrong
// refuses them all, before anything is sent.
func (h *Handler) recipients(written []string, from message.JID, kind message.Type) ([]message.JID, error) {
	switch {
	case len(written) == 0:
		return nil, fault.New(fault.Unsendable, "to: is missing: name the recipient in the path, as in %s/user@example.com, or in the field to", h.base)
	case len(written) > maxRecipients:
		return nil, fault.New(fault.Unsendable, "to: names more than %d recipients", maxRecipients)
	}
	to := make([]message.JID, 0, len(written))
	for _, name := range written {
		j, err := h.recipient(strings.TrimSpace(name), from, kind)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(to, j) {
			to = append(to, j)
		}
	}
	return to, nil
}

// recipient reads one address. One without `@` is an account on the sender's
// own domain; a room has no such short form.
func (h *Handler) recipient(name string, from message.JID, kind message.Type) (message.JID, error) {
	full := name
	if bare, _, _ := strings.Cut(name, "/"); bare != "" && !strings.Contains(bare, "@") {
		switch domain := strings.ToLower(bare); {
		case kind == message.GroupChat:
			return "", fault.New(fault.Unsendable, "to: %q is no room: write its whole address, as in room@rooms.example.com", shorten(name))
		case domain == h.options.ComponentDomain:
			return "", fault.New(fault.Unsendable, "to: %q is posthorn's own domain, where nobody reads", shorten(name))
		case slices.Contains(h.options.Hosts, domain):
			return "", fault.New(fault.Unsendable, "to: %q is a domain: write user@%s", bare, domain)
		}
		full = bare + "@" + from.Domain() + name[len(bare):]
	}
	j, err := message.ParseRecipient(full)
	switch {
	case name == "":
		return "", fault.New(fault.Unsendable, "to: is empty")
	case err != nil:
		return "", fault.New(fault.Unsendable, "to: %q %v", shorten(name), err)
	case kind == message.GroupChat && !j.IsBare():
		return "", fault.New(fault.Unsendable, "to: %q is no room: leave out the slash and what is behind it", shorten(name))
	case j.Domain() == h.options.ComponentDomain:
		// The server would hand it back to us, as a message from the sender.
		return "", fault.New(fault.Unsendable, "to: %q is at posthorn's own domain, where nobody reads", shorten(name))
	case h.options.RecipientsLocal && !h.local(j.Domain()):
		return "", fault.New(fault.Forbidden, "to: %q is on another server, and policy.recipients is local", shorten(name))
	}
	return j, nil
}

// mayAddress checks the recipients against the limits of the token, if one was
// used.
func (x *exchange) mayAddress(to []message.JID) error {
	for _, j := range to {
		if x.token != nil && !x.token.MaySendTo(j) {
			return fault.New(fault.Forbidden, "the token is not for messages to %s", j)
		}
	}
	return nil
}

// local reports whether a domain is one of the hosts, or below one.
func (h *Handler) local(domain string) bool {
	return slices.ContainsFunc(h.options.Hosts, func(host string) bool {
		return domain == host || strings.HasSuffix(domain, "."+host)
	})
}
