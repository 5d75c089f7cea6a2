package httpapi

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"posthorn/internal/fault"
)

// metrics count the answers. Immutable after newMetrics: a status that no row
// and no success has would be a mistake, and is counted as 500.
type metrics struct {
	answers map[int]prometheus.Counter // by status
	took    prometheus.Histogram
	limited prometheus.Counter
	hooks   *prometheus.CounterVec // by outcome: see hookOutcomes
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	answers := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "posthorn_httpapi_requests_total",
		Help: "Requests answered, by status.",
	}, []string{"status"})
	m := &metrics{
		answers: make(map[int]prometheus.Counter),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "posthorn_httpapi_request_seconds",
			Help:    "Time from a request's header to its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		limited: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "posthorn_httpapi_rate_limited_total",
			Help: "Requests refused because their sender sends more messages than limits allows.",
		}),
		hooks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "posthorn_httpapi_hooks_total",
			Help: "Payloads of webhooks, by what their template made of them: a message, nothing where there is nothing to tell, unfit where it is for other payloads, failed where it is broken or slow.",
		}, []string{"outcome"}),
	}
	for _, outcome := range hookOutcomes {
		m.hooks.WithLabelValues(outcome)
	}
	for _, status := range successes {
		m.answers[status] = answers.WithLabelValues(statusLabel(status))
	}
	for _, row := range rows {
		m.answers[row.status] = answers.WithLabelValues(statusLabel(row.status))
	}
	registerer.MustRegister(answers, m.took, m.limited, m.hooks)
	return m
}

func (m *metrics) observe(status int, took time.Duration) {
	answer, known := m.answers[status]
	if !known {
		answer = m.answers[500]
	}
	answer.Inc()
	m.took.Observe(took.Seconds())
}

// hookOutcomes is the closed list. Never written to.
var hookOutcomes = [...]string{"message", "nothing", "unfit", "failed"}

// rendered counts what a template made of a payload.
func (m *metrics) rendered(body string, err error) {
	outcome := "message"
	switch {
	case err != nil && fault.Of(err).Kind == fault.Unsendable:
		outcome = "unfit"
	case err != nil:
		outcome = "failed"
	case body == "":
		outcome = "nothing"
	}
	m.hooks.WithLabelValues(outcome).Inc()
}
