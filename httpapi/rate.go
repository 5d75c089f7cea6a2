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

// A token's own rate is counted in milliseconds of what it may, of which it may use
// ten seconds at once.
const tokenBurst = 10_000

func newTokenRates() *quota.Table[string] {
	return quota.New[string](tokenBurst, time.Millisecond, maxRates)
}

// checkRate counts the messages of a request, one for each recipient, for the token
// by which it came and for its sender.
func (x *exchange) checkRate(messages int) error {
	if x.token != nil && x.token.Rate > 0 {
		wait, _ := x.tokenRates.Take(x.token.Hash, max(1, int(1000*float64(messages)/x.token.Rate)))
		if wait > 0 {
			x.metrics.limited.Inc()
			return fault.New(fault.RateLimited, "the token is for %g messages a second: wait, as Retry-After says", x.token.Rate).After(wait)
		}
	}
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
