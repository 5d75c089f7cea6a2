package component

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/stream"
)

type metrics struct {
	messages   *prometheus.CounterVec // by outcome
	barrier    prometheus.Histogram
	batch      prometheus.Histogram
	up         prometheus.Gauge
	refused    prometheus.Gauge
	reconnects prometheus.Counter
	dropped    *prometheus.CounterVec // by reason
}

// newMetrics makes every label value that there is, so that a rate over the first one is
// right.
func newMetrics(reg prometheus.Registerer, queue *queue, rooms *rooms, mute func() int) *metrics {
	auto := promauto.With(reg)
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "posthorn_component_queue_messages", Help: "Messages that wait for the writer.",
	}, func() float64 { return float64(queue.len()) })
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "posthorn_component_room_seats", Help: "Seats in rooms: senders times rooms in which they spoke lately.",
	}, func() float64 { return float64(rooms.size()) })
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "posthorn_component_mute_hosts", Help: "Hosts of auth.hosts whose users cannot send, since the server does not let the component speak for them; 0 while the stream is not up.",
	}, func() float64 { return float64(mute()) })
	m := &metrics{
		messages: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "posthorn_component_messages_total", Help: "Messages by what became of them.",
		}, []string{"outcome"}),
		barrier: auto.NewHistogram(prometheus.HistogramOpts{
			Name: "posthorn_component_barrier_seconds", Help: "From the write of a barrier to its return.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2.5, 14),
		}),
		batch: auto.NewHistogram(prometheus.HistogramOpts{
			Name: "posthorn_component_batch_messages", Help: "Messages in one write.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 9),
		}),
		up: auto.NewGauge(prometheus.GaugeOpts{
			Name: "posthorn_component_up", Help: "1 while the stream is up.",
		}),
		refused: auto.NewGauge(prometheus.GaugeOpts{
			Name: "posthorn_component_refused", Help: "1 while the server refuses the component, until somebody changes a configuration.",
		}),
		reconnects: auto.NewCounter(prometheus.CounterOpts{
			Name: "posthorn_component_reconnects_total", Help: "Streams that ended or did not come to be.",
		}),
		dropped: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "posthorn_component_dropped_elements_total", Help: "Elements from the stream that were skipped.",
		}, []string{"reason"}),
	}
	for _, outcome := range []string{"delivered", "routed", "bounced", "unconfirmed", "rejected", "not_sent"} {
		m.messages.WithLabelValues(outcome)
	}
	for _, reason := range []string{string(stream.DropSize), string(stream.DropDepth), string(stream.DropSyntax), "flood"} {
		m.dropped.WithLabelValues(reason)
	}
	return m
}

func (m *metrics) state(s State) {
	m.up.Set(0)
	m.refused.Set(0)
	switch s {
	case Up:
		m.up.Set(1)
	case Refused:
		m.refused.Set(1)
	}
}

// withdrawn counts a message that was not sent because nobody waited any more.
func (m *metrics) withdrawn() { m.messages.WithLabelValues("not_sent").Inc() }

// delivered counts one message by a closed list of labels.
func (m *metrics) delivered(o outcome) {
	label := "bounced"
	switch {
	case o.err == nil && o.status == message.Delivered:
		label = "delivered"
	case o.err == nil:
		label = "routed"
	case o.err.Kind == fault.Unconfirmed:
		label = "unconfirmed"
	case o.err.Kind == fault.Rejected:
		label = "rejected"
	case o.err.Kind == fault.Unavailable, o.err.Kind == fault.TooLarge, o.err.Kind == fault.Conflict:
		label = "not_sent"
	}
	m.messages.WithLabelValues(label).Inc()
}
