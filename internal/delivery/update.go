package delivery

import (
	"context"
	"time"

	"posthorn/internal/message"
)

// correctable is for how long a message is corrected, from when it was sent: then it
// is far up in its reader's window.
const correctable = 7 * 24 * time.Hour

// amended gives the messages of a request as they are to be sent: about something of
// which its sender has told the recipient before, each corrects that message
// (XEP-0308).
//
// Requests that are under way at once do not wait for each other, so both may be new,
// and later ones correct the one that was answered last. Nothing is lost by that,
// while a message that waited for another would be as late as the slowest before it.
func (d *Delivery) amended(r message.Request) []*message.Message {
	if r.Update == "" || r.Fresh || d.keeper == nil {
		return r.Messages
	}
	to := make([]message.JID, len(r.Messages))
	for i, m := range r.Messages {
		to[i] = m.To
	}
	// Who asked may go: what is sent all the same has to be what it would have been.
	ids, err := d.keeper.Originals(context.Background(), r.Messages[0].From, to, r.Update, time.Now())
	if err != nil { // a new message is better than none
		return r.Messages
	}
	messages := make([]*message.Message, len(r.Messages))
	for i, m := range r.Messages {
		messages[i] = d.correction(m, ids[i])
	}
	return messages
}

// correction gives m as the correction of an original, where there is one. What its
// client has named itself is left. A request that is repeated may find itself.
func (d *Delivery) correction(m *message.Message, original string) *message.Message {
	if original == "" || original == m.ID || m.Replace != "" {
		return m
	}
	c := *m
	if c.Replace = original; d.sender.Fits(&c) != nil { // it may as a new one
		return m
	}
	d.metrics.corrected.Inc()
	return &c
}

// remember keeps what later messages about the same correct: what was sent or kept,
// and is no correction itself, since all of them name the first (XEP-0308 §4). Where
// that cannot be written, the next message is a new one: this one is sent, and saying
// otherwise would have it sent again.
func (d *Delivery) remember(key string, messages []*message.Message, outcomes []message.Outcome) {
	if key == "" || d.keeper == nil {
		return
	}
	var originals []message.Original
	for i, o := range outcomes {
		if m := messages[i]; o.Err == nil && m.Replace == "" {
			originals = append(originals, message.Original{From: m.From, To: m.To, Key: key, ID: m.ID, Expires: time.Now().Add(correctable)})
		}
	}
	if len(originals) > 0 {
		_ = d.keeper.KeepOriginals(context.Background(), originals)
	}
}
