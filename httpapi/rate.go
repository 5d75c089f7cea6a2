package httpapi

import (
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/quota"
)

// maxRates bounds how many senders' rates are known, and with them the memory, to
// 4 MiB. Senders are real accounts; of more, those who sent least are forgotten.
const maxRates = 1 << 16

// newRates has nothing where there is no limit.
func newRates(o Options) *quota.Table[message.JID] {
	if o.MessagesPerSecond <= 0 {
		return nil
	}
	return quota.New[message.JID](max(1, o.Burst), time.Second/time.Duration(o.MessagesPerSecond), maxRates)
}

// checkRate counts the messages of a request, one for each recipient.
func (x *exchange) checkRate(messages int) error {
	if x.rates == nil {
		return nil
	}
	wait, first := x.rates.Take(x.from, messages)
	if wait <= 0 {
		return nil
	}
	x.metrics.limited.Inc()
	if first {
		x.options.Log.Warn("too many messages", "jid", x.from, "addr", addressInLog(x.client()))
	}
	return fault.New(fault.RateLimited, "you send more than %d messages a second: wait, as Retry-After says", x.options.MessagesPerSecond).After(wait)
}
