package httpapi

import (
	"errors"
	"net/http"
	"net/url"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// A result is an outcome as answers for several recipients list it.
type result struct {
	To     message.JID    `json:"to"`
	Status message.Status `json:"status"` // or refused, or failed
	Code   string         `json:"code,omitempty"`
	Detail string         `json:"detail,omitempty"`
}

const (
	refused message.Status = "refused" // for good
	failed  message.Status = "failed"  // try again; the code says whether it may have been sent
)

// sent answers for messages that were sent, or some of which were.
type sent struct {
	ID      string         `json:"id"`
	To      any            `json:"to,omitempty"` // a JID, or several
	Status  message.Status `json:"status,omitempty"`
	Results []result       `json:"results,omitempty"`
}

// report answers with what became of the messages.
func (x *exchange) report(messages []*message.Message, outcomes []message.Outcome) {
	switch first := outcomes[0]; {
	case len(outcomes) > 1:
		x.reportSeveral(messages, outcomes)
	case first.Err != nil:
		x.fail(asFault(first.Err), nil)
	default:
		x.replySent(first.Status, sent{ID: x.id, To: messages[0].To, Status: first.Status})
	}
}

// replySent answers that the message was sent, or is kept, and where to look what
// becomes of it then.
func (x *exchange) replySent(weakest message.Status, body sent) {
	if x.replyForeign() {
		return
	}
	status := http.StatusCreated
	if weakest == message.Kept {
		status = http.StatusAccepted
		x.w.Header().Set("Location", "/messages/"+url.PathEscape(x.id))
	}
	x.reply(status, "application/json", body)
}

// reportSeveral: what could be sent by trying again makes the whole request
// one that is to be tried again; the stanza's id lets clients see the
// repetition.
func (x *exchange) reportSeveral(messages []*message.Message, outcomes []message.Outcome) {
	t := x.tally(messages, outcomes)
	switch {
	case t.failed != nil:
		x.fail(t.failed, t.results)
	case t.refused == nil:
		x.replySent(t.status, sent{ID: x.id, To: x.to, Status: t.status, Results: t.results})
	case t.sent == 0:
		x.fail(t.refused, t.results)
	default:
		x.reply(http.StatusMultiStatus, "application/json", sent{ID: x.id, Results: t.results})
	}
	x.err = t.err
}

// A tally sums up the outcomes for several recipients.
type tally struct {
	results []result
	status  message.Status // of them all, when all were sent: the weakest
	sent    int
	refused *fault.Error // the first that was refused for good; nil: none
	failed  *fault.Error // the first that may be tried again; nil: none
	err     error        // every fault, for the log
}

func (x *exchange) tally(messages []*message.Message, outcomes []message.Outcome) tally {
	t := tally{status: message.Delivered}
	for i, o := range outcomes {
		r, f := x.result(messages[i].To, o)
		switch r.Status {
		case refused:
			t.refused = firstFault(t.refused, f)
		case failed:
			t.failed = firstFault(t.failed, f)
		default:
			t.sent++
			t.status = weaker(t.status, o.Status)
		}
		if f != nil {
			t.err = errors.Join(t.err, f)
		}
		t.results = append(t.results, r)
	}
	return t
}

// result tells of one outcome; f is its fault, nil where there is none.
func (x *exchange) result(to message.JID, o message.Outcome) (r result, f *fault.Error) {
	r = result{To: to, Status: o.Status}
	if o.Err == nil {
		return r, nil
	}
	f = asFault(o.Err)
	r.Code, r.Detail = f.Kind.String(), x.detail(f)
	if r.Status = failed; forGood(f.Kind) {
		r.Status = refused
	}
	return r, f
}

// weaker gives the one of two statuses that promises less.
func weaker(one, other message.Status) message.Status {
	for _, status := range []message.Status{message.Kept, message.Routed} {
		if one == status || other == status {
			return status
		}
	}
	return one
}

func firstFault(one, other *fault.Error) *fault.Error {
	if one != nil {
		return one
	}
	return other
}
