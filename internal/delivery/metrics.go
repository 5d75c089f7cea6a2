package delivery

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"posthorn/internal/message"
)

type metrics struct {
	kept      prometheus.Counter
	expired   prometheus.Counter
	retries   prometheus.Counter
	corrected prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, d *Delivery) *metrics {
	auto := promauto.With(reg)
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "posthorn_delivery_kept_messages", Help: "Messages that are kept and still to be sent.",
	}, func() float64 { n, _ := d.depth(); return float64(n) })
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "posthorn_delivery_kept_bytes", Help: "What those count for, of delivery.max_kept.",
	}, func() float64 { _, bytes := d.depth(); return float64(bytes) })
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "posthorn_delivery_oldest_seconds", Help: "Age of the oldest of those; 0 where there are none.",
	}, func() float64 { return d.oldest().Seconds() })
	auto.NewGauge(prometheus.GaugeOpts{
		Name: "posthorn_delivery_kept_limit_bytes", Help: "delivery.max_kept: beyond it nothing is kept.",
	}).Set(float64(d.opts.MaxKept))
	return &metrics{
		kept: auto.NewCounter(prometheus.CounterOpts{
			Name: "posthorn_delivery_kept_total", Help: "Messages that were kept before they were sent.",
		}),
		expired: auto.NewCounter(prometheus.CounterOpts{
			Name: "posthorn_delivery_expired_total", Help: "Kept messages that were given up because they were too old.",
		}),
		retries: auto.NewCounter(prometheus.CounterOpts{
			Name: "posthorn_delivery_retries_total", Help: "Bounces of kept messages that may pass, so that they are tried again.",
		}),
		corrected: auto.NewCounter(prometheus.CounterOpts{
			Name: "posthorn_delivery_corrected_total", Help: "Updates that were sent as the correction of an earlier message.",
		}),
	}
}

// depth gives how many messages are kept, and the bytes that they count for.
func (d *Delivery) depth() (n int, bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.accounts {
		n += a.records
	}
	return max(n, 0), max(d.kept, 0) // what others have sent is counted by and by
}

// ownDepth gives how many messages of one sender are kept.
func (d *Delivery) ownDepth(sender message.JID) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.accounts[sender]; a != nil {
		return max(a.records, 0)
	}
	return 0
}

// oldest is the age of the oldest message that is kept.
func (d *Delivery) oldest() time.Duration {
	if n, _ := d.depth(); n == 0 {
		return 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	records, err := d.keeper.Select(ctx, message.Query{Open: true, Limit: 1})
	if err != nil || len(records) == 0 {
		return 0
	}
	return time.Since(records[0].Accepted)
}
