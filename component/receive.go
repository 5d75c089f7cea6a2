package component

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"time"

	"gosrc.io/xmpp/stanza"

	"posthorn/internal/message"
	"posthorn/internal/stream"
)

// read takes in what the server sends until the stream ends. The error is
// never nil.
func (s *session) read(ctx context.Context) error {
	for {
		e, err := s.reader.Next()
		var drop *stream.DropError
		switch {
		case errors.As(err, &drop):
			s.c.metrics.dropped.WithLabelValues(string(drop.Reason)).Inc()
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return errClosed
		case err != nil:
			return err
		default:
			if err := s.receive(ctx, e); err != nil {
				return err
			}
		}
	}
}

// receive looks at one element. Most of what strangers send is for nobody here
// and ends in this function: presence, chats, answers to questions we did not
// ask.
func (s *session) receive(ctx context.Context, e *stream.Element) error {
	switch e.Name {
	case xml.Name{Space: stanza.NSStream, Local: "error"}:
		condition, text := e.Condition(nsStreamErrors)
		return &StreamError{condition, text}
	case xml.Name{Space: stanza.NSComponent, Local: "iq"}:
		if !s.barrierReturned(e) && !s.echoed(e) && !s.c.inquiries.answered(e) {
			s.answer(ctx, e)
		}
	case xml.Name{Space: stanza.NSComponent, Local: "message"}:
		switch {
		case e.Attr("type") == "error":
			s.bounced(e)
		case e.Attr("type") == "groupchat":
			s.reflected(e)
		case !s.echoed(e):
			s.privilege(e)
			s.hint(e)
		}
	case xml.Name{Space: stanza.NSComponent, Local: "presence"}:
		s.c.rooms.presence(e)
	}
	return nil
}

// barrierReturned settles what stood before a barrier. It is known by its
// addresses, which the server vouches for, and an id that nobody can guess;
// whether it comes back as we sent it or answered is the server's affair.
func (s *session) barrierReturned(e *stream.Element) bool {
	if e.Attr("from") != s.c.opts.Domain || e.Attr("to") != s.c.opts.Domain {
		return false
	}
	done, freed, ok := s.inflight.returned(e.Attr("id"))
	if !ok {
		return false
	}
	s.c.metrics.barrier.Observe(time.Since(done[len(done)-1].written).Seconds())
	for _, b := range done {
		for _, d := range b.deliveries {
			if d == nil || d.bounced {
				continue
			}
			status := message.Routed
			if d.tells {
				status = message.Delivered
			}
			s.c.resolve(d, outcome{status: status})
		}
	}
	if freed {
		notify(s.returned)
	} else {
		s.c.queue.await(s.inflight.worthwhile)
	}
	return true
}

// bounced settles the message that an error is about. In direct mode the
// server addresses it to the user in whose name we sent, and no stranger's
// message to a user gets here. A wrapper's error comes to us from the host.
func (s *session) bounced(e *stream.Element) {
	from, to := message.JID(e.Attr("from")), message.JID(e.Attr("to"))
	switch {
	case to == "":
		return
	case string(to) == s.c.opts.Domain && !slices.Contains(s.c.opts.Hosts, string(from)):
		return
	case string(to) == s.c.opts.Domain:
		to = ""
	}
	r := reflection{place{to, from.Bare()}, e.Attr("id")}
	if d := s.inflight.room(r); d != nil {
		s.inflight.answered(r)
		s.c.rooms.refused(d, e)
		return
	}
	if d := s.inflight.bounced(e.Attr("id"), to, from); d != nil {
		s.c.resolve(d, outcome{err: bounceOf(e, d.message.To)})
	}
}

// reflected settles the message that a room has sent back to the one who said it
// (XEP-0045 §7.4). What other occupants say is for nobody here. A room may have
// given it an id of its own, and leaves the origin-id (XEP-0359).
func (s *session) reflected(e *stream.Element) {
	from := message.JID(e.Attr("from"))
	r := reflection{place{message.JID(e.Attr("to")), from.Bare()}, e.Attr("id")}
	d := s.inflight.room(r)
	if origin := e.Child("urn:xmpp:sid:0", "origin-id"); d == nil && origin != nil {
		r.id = origin.Attr("id")
		d = s.inflight.room(r)
	}
	if d != nil && s.c.rooms.speaksFor(d, from.Resource(), bodyOf(e)) {
		s.inflight.answered(r)
		s.c.resolve(d, outcome{status: message.Delivered})
	}
}

func bodyOf(e *stream.Element) string {
	if body := e.Child(e.Name.Space, "body"); body != nil {
		return body.Text
	}
	return ""
}

// echoed notes that what we have asked ourselves came back. Nobody else knows its id.
func (s *session) echoed(e *stream.Element) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ours := s.echoes[e.Attr("id")]; !ours {
		return false
	}
	s.echoes[e.Attr("id")] = true
	notify(s.echoing)
	return true
}
