package auth

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	probes  *prometheus.CounterVec // outcome: see outcome
	seconds prometheus.Histogram
	cache   *prometheus.CounterVec // result: hit, miss, negative or stale

	throttled *prometheus.CounterVec // by: account or network
}

// newMetrics registers with r, or nowhere when r is nil. Every label value is
// there from the start, so that a rate over the first one is right.
func newMetrics(r prometheus.Registerer) *metrics {
	factory := promauto.With(r)
	m := &metrics{
		probes: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "posthorn_auth_probes_total",
			Help: "Passwords that an XMPP server was asked about, by what came of it.",
		}, []string{"outcome"}),
		seconds: factory.NewHistogram(prometheus.HistogramOpts{
			Name:    "posthorn_auth_probe_seconds",
			Help:    "Time to ask an XMPP server about a password, without waiting for a turn.",
			Buckets: []float64{.0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		cache: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "posthorn_auth_cache_total",
			Help: "Password checks, by what was remembered: that it is right (hit), wrong (negative), nothing (miss), or that it was right, while the server is silent (stale).",
		}, []string{"result"}),
	}
	m.throttled = factory.NewCounterVec(prometheus.CounterOpts{
		Name: "posthorn_auth_throttled_total",
		Help: "Passwords that were not checked, for too many wrong ones from there for the account, or for any (network).",
	}, []string{"by"})
	for _, by := range []string{byAccount, byNetwork} {
		m.throttled.WithLabelValues(by)
	}
	for _, result := range []string{"hit", "miss", "negative", "stale"} {
		m.cache.WithLabelValues(result)
	}
	for _, outcome := range outcomes() {
		m.probes.WithLabelValues(outcome)
	}
	return m
}

// outcome is the metric label for the end of a probe.
func outcome(err error) string {
	switch {
	case err == nil:
		return "accepted"
	case errors.Is(err, errRefused):
		return "refused"
	}
	return string(reasonOf(err, Broken))
}

func outcomes() []string {
	all := []string{"accepted", "refused"}
	for _, r := range reasons {
		all = append(all, string(r))
	}
	return all
}
