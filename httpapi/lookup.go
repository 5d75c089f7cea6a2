package httpapi

import (
	"net/http"
	"slices"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// A standing is what has become of a message that is or was kept.
type standing struct {
	To       message.JID    `json:"to"`
	Status   message.Status `json:"status"` // queued, delivered, routed, bounced, rejected or expired
	Attempts int            `json:"attempts"`
	Accepted time.Time      `json:"accepted"`
	Expires  *time.Time     `json:"expires,omitempty"`  // while it is queued: when it is given up
	NextTry  *time.Time     `json:"next_try,omitempty"` // while it waits for that
	Code     string         `json:"code,omitempty"`     // of the last failure, as in problems
	Error    string         `json:"error,omitempty"`
}

// standings answer for a message, or for one to several recipients.
type standings struct {
	ID string `json:"id"`
	*standing
	Results []standing `json:"results,omitempty"`
}

// lookup tells a sender what has become of a message of theirs. That of somebody
// else is as one that there never was.
func (x *exchange) lookup(t target) error {
	c, err := x.credential()
	if err != nil {
		return err
	}
	if err := x.identify(c); err != nil {
		return err
	}
	records, err := x.deliverer.Find(x.r.Context(), x.from, t.id)
	records = slices.DeleteFunc(records, func(r message.Record) bool { return x.token != nil && !x.token.MaySendTo(r.To) })
	switch {
	case err != nil:
		return asFault(err)
	case len(records) == 0:
		return fault.New(fault.NoSuchMessage, "no message of yours with this id is known: those that were kept, or had an Idempotency-Key, are, until delivery.remember has passed")
	}
	x.id = t.id
	answer := standings{ID: t.id}
	for i := range records {
		answer.Results = append(answer.Results, standingOf(&records[i]))
	}
	if len(records) == 1 {
		answer.standing, answer.Results = &answer.Results[0], nil
	}
	x.reply(http.StatusOK, "application/json", answer)
	return nil
}

func standingOf(r *message.Record) standing {
	s := standing{
		To: r.To, Status: message.Status(r.State), Attempts: r.Attempts,
		Accepted: r.Accepted.UTC().Truncate(time.Millisecond), Code: r.Code, Error: oneLine(r.Detail),
	}
	if r.State.Pending() {
		s.Status, s.Expires = message.Kept, moment(r.Expires)
	}
	if r.State == message.Waiting {
		s.NextTry = moment(r.Wake)
	}
	return s
}

func moment(t time.Time) *time.Time {
	t = t.UTC().Truncate(time.Millisecond)
	return &t
}
