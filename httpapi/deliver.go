package httpapi

import (
	"errors"
	"net/http"
	"sync"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// An outcome is what became of one message.
type outcome struct {
	message *message.Message
	status  message.Status
	fault   *fault.Error // nil: status holds
}

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

// deliver hands over the messages of one request, all at once: maxRecipients
// bounds them, and a server that has stopped answering then costs the client
// one confirm_timeout and not one for each.
func (x *exchange) deliver(messages []*message.Message) []outcome {
	outcomes := make([]outcome, len(messages))
	if len(messages) == 1 {
		outcomes[0] = x.deliverOne(messages[0])
		return outcomes
	}
	var under sync.WaitGroup
	for i, m := range messages {
		under.Go(func() { outcomes[i] = x.deliverOne(m) })
	}
	under.Wait()
	return outcomes
}

func (x *exchange) deliverOne(m *message.Message) outcome {
	status, err := x.deliverer.Deliver(x.r.Context(), m)
	if err != nil {
		return outcome{message: m, fault: asFault(err)}
	}
	return outcome{message: m, status: status}
}

// sent answers for messages that were sent, or some of which were.
type sent struct {
	ID      string         `json:"id"`
	To      any            `json:"to,omitempty"` // a JID, or several
	Status  message.Status `json:"status,omitempty"`
	Results []result       `json:"results,omitempty"`
}

// report answers with what became of the messages.
func (x *exchange) report(outcomes []outcome) {
	first := outcomes[0]
	switch {
	case len(outcomes) > 1:
		x.reportSeveral(outcomes)
	case first.fault != nil:
		x.fail(first.fault, nil)
	default:
		x.reply(http.StatusCreated, "application/json", sent{ID: first.message.ID, To: first.message.To, Status: first.status})
	}
}

// reportSeveral: what could be sent by trying again makes the whole request
// one that is to be tried again; the stanza's id lets clients see the
// repetition.
func (x *exchange) reportSeveral(outcomes []outcome) {
	t := x.tally(outcomes)
	id := outcomes[0].message.ID
	switch {
	case t.failed != nil:
		x.fail(t.failed, t.results)
	case t.refused == nil:
		x.reply(http.StatusCreated, "application/json", sent{ID: id, To: x.to, Status: t.status, Results: t.results})
	case t.sent == 0:
		x.fail(t.refused, t.results)
	default:
		x.reply(http.StatusMultiStatus, "application/json", sent{ID: id, Results: t.results})
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

func (x *exchange) tally(outcomes []outcome) tally {
	t := tally{status: message.Delivered}
	for _, o := range outcomes {
		r := result{To: o.message.To, Status: o.status}
		switch {
		case o.fault == nil:
			t.sent++
			if o.status != message.Delivered {
				t.status = o.status
			}
		case forGood(o.fault.Kind):
			r.Status = refused
			t.refused = firstFault(t.refused, o.fault)
		default:
			r.Status = failed
			t.failed = firstFault(t.failed, o.fault)
		}
		if o.fault != nil {
			r.Code, r.Detail = rowOf(o.fault.Kind).code, x.detail(o.fault)
			t.err = errors.Join(t.err, o.fault)
		}
		t.results = append(t.results, r)
	}
	return t
}

func firstFault(one, other *fault.Error) *fault.Error {
	if one != nil {
		return one
	}
	return other
}
