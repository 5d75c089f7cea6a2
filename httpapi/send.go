package httpapi

import (
	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// send takes a request to send from its header to its answer. Who names no
// account gets no body read.
func (x *exchange) send(t target) error {
	x.endAmbiguity()
	var err error
	if x.attaching, err = x.mayAttach(); err != nil {
		return err
	}
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
	if x.attaching {
		return x.sendParcel(t, c)
	}
	body, err := x.bodyOf(c)
	if err != nil {
		return err
	}
	if err := x.mayWrite(t); err != nil {
		return err
	}
	if err := x.checkSignature(body); err != nil {
		return err
	}
	f, err := x.readFields(t, body)
	if err != nil {
		return err
	}
	request, err := x.compose(t, f)
	if err != nil {
		return err
	}
	return x.deliver(request)
}

// mayWrite refuses a token that is for webhooks alone.
func (x *exchange) mayWrite(t target) error {
	if t.page != hookPage && x.token != nil && !x.token.MayRender("") {
		return fault.New(fault.Forbidden, "the token is for webhooks only")
	}
	return nil
}

// deliver sends what is composed, and answers.
func (x *exchange) deliver(request message.Request) error {
	if len(request.Messages) == 0 { // a webhook of which nobody needs to know
		x.replyNothing()
		return nil
	}
	if err := x.checkRate(len(request.Messages)); err != nil {
		return err
	}
	outcomes, err := x.deliverer.Deliver(x.r.Context(), request)
	x.remember(request.Messages, outcomes, err)
	if err != nil {
		return asFault(err)
	}
	x.report(request.Messages, outcomes)
	return nil
}

// bodyOf reads the body of a request whose sender is who c says. A webhook's may be
// large, and is read only once that is proven.
func (x *exchange) bodyOf(c credential) (body []byte, err error) {
	if x.target.page == hookPage {
		if err := x.identify(c); err != nil {
			return nil, err
		}
		return x.readBody()
	}
	if body, err = x.readBody(); err != nil {
		return nil, err
	}
	return body, x.identify(c)
}

// compose makes one message for each recipient, or none at all; no error and no message
// where a webhook is nobody's business.
func (x *exchange) compose(t target, f fields) (r message.Request, err error) {
	key, err := idempotencyKey(x.r.Header)
	if err != nil {
		return r, err
	}
	if t.page == hookPage && !f.has("body") {
		return r, nil
	}
	m, err := f.message()
	if err != nil {
		return r, err
	}
	if r.Update, r.Fresh, err = x.update(t.page == hookPage, f.about); err != nil {
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
