package httpapi

import (
	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// MaySend gives nil where an account may send, else the reason why not, as a
// *fault.Error.
func (h *Handler) MaySend(from message.JID) error {
	if len(h.options.Senders) == 0 || from.In(h.options.Senders) {
		return nil
	}
	return fault.New(fault.Forbidden, "%s may not send: policy.senders lists who may", from)
}

// Recipient gives the address that a sender's word for a recipient means, if it may
// be written to, else the reason why not, as a *fault.Error.
func (h *Handler) Recipient(name string, from message.JID) (message.JID, error) {
	return h.recipient(name, from, message.Chat)
}
