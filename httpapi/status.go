package httpapi

import (
	"net/http"
	"slices"
	"time"

	"posthorn/internal/message"
)

// A report is what who is signed in is told of posthorn, and of what they sent. Of
// others there are numbers alone.
type report struct {
	JID message.JID `json:"jid"`
	state
	Kept     kept      `json:"kept"`
	Minutes  minutes   `json:"minutes"`
	Outcomes []outcome `json:"outcomes"` // the newest first
}

// kept is how many messages are still to be sent.
type kept struct {
	All   int `json:"all"`
	Yours int `json:"yours"`
}

// tellStatus answers how posthorn is, and thereby whether credentials are right. It
// sends nothing.
func (x *exchange) tellStatus() error {
	c, err := x.credential()
	if err != nil {
		return err
	}
	if err := x.identify(c); err != nil {
		return err
	}
	o := x.deliverer.Overview(x.r.Context(), x.from, maxOutcomes)
	x.reply(http.StatusOK, "application/json", report{
		JID:      x.from,
		state:    x.state(),
		Kept:     kept{All: o.Kept, Yours: o.Own},
		Minutes:  x.memory.lastHour(time.Now()),
		Outcomes: x.latest(o.Newest),
	})
	return nil
}

// latest joins what is remembered of the sender's messages with what is kept of them,
// which is what became of them since. A token is told of those that it may send.
func (x *exchange) latest(records []message.Record) []outcome {
	all := make([]outcome, 0, 2*maxOutcomes)
	for i := range records {
		all = append(all, outcomeOf(&records[i]))
	}
	for _, o := range slices.Backward(x.memory.outcomes(x.from)) {
		if !slices.ContainsFunc(all, func(k outcome) bool { return k.ID == o.ID && k.To == o.To }) {
			all = append(all, o)
		}
	}
	all = slices.DeleteFunc(all, func(o outcome) bool { return x.token != nil && !x.token.MaySendTo(o.To) })
	slices.SortStableFunc(all, func(a, b outcome) int { return b.Time.Compare(a.Time) })
	return all[:min(len(all), maxOutcomes)]
}

// outcomeOf tells what is known of a message that is or was kept.
func outcomeOf(r *message.Record) outcome {
	s := standingOf(r)
	return outcome{result: result{To: s.To, Status: s.Status, Code: s.Code, Detail: s.Error}, ID: r.ID, Time: s.Accepted}
}
