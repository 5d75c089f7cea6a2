package httpapi

import (
	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// send takes a request to send from its header to its answer. Who names no
// account gets no body read.
func (x *exchange) send(t target) error {
	x.endAmbiguity()
	if err := x.checkSize(); err != nil {
		return err
	}
	if err := x.checkOrigin(); err != nil {
		return err
	}
	c, err := x.credential()
	if err != nil {
		return err
	}
	body, err := x.readBody()
	if err != nil {
		return err
	}
	if err := x.identify(c); err != nil {
		return err
	}
	if x.token != nil && !x.token.MayRender("") {
		return fault.New(fault.Forbidden, "the token is for webhooks only")
	}
	if err := x.checkSignature(body); err != nil {
		return err
	}
	request, err := x.compose(t, body)
	if err != nil {
		return err
	}
	if err := x.checkRate(len(request.Messages)); err != nil {
		return err
	}
	outcomes, err := x.deliverer.Deliver(x.r.Context(), request)
	if err != nil {
		return err
	}
	x.report(request.Messages, outcomes)
	return nil
}

// compose makes one message for each recipient, or none at all.
func (x *exchange) compose(t target, body []byte) (r message.Request, err error) {
	key, err := idempotencyKey(x.r.Header)
	if err != nil {
		return r, err
	}
	f, err := x.readFields(t, body)
	if err != nil {
		return r, err
	}
	m, err := f.message()
	if err != nil {
		return r, err
	}
	if x.to, err = x.recipients(f.to, x.from, m.Type); err != nil {
		return r, err
	}
	if err := x.mayAddress(x.to); err != nil {
		return r, err
	}
	m.From = x.from
	if r.Scope = scopeOf(key, x.from, x.to, t.page); r.Scope != "" {
		r.Digest = digestOf(m)
	}
	if m.ID == "" {
		m.ID = stanzaID(r.Scope)
	}
	if err := m.Validate(); err != nil {
		return r, fault.New(fault.Unsendable, "%v", err)
	}
	x.id = m.ID
	r.Messages = forEach(m, x.to)
	return r, nil
}

// forEach gives each recipient a message of their own.
func forEach(m *message.Message, to []message.JID) []*message.Message {
	if len(to) == 1 {
		m.To = to[0]
		return []*message.Message{m}
	}
	messages := make([]*message.Message, len(to))
	for i, recipient := range to {
		one := *m
		one.To = recipient
		messages[i] = &one
	}
	return messages
}
