package main

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// measure exports what is true of the whole program. The files may be nil, and then
// nothing is said of a certificate.
func measure(registry *prometheus.Registry, files *certificate) {
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	auto := promauto.With(registry)
	auto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "posthorn_build_info", Help: "1, with the version of posthorn, and the one of Go that built it.",
	}, []string{"version", "goversion"}).WithLabelValues(version, runtime.Version()).Set(1)
	if files == nil {
		return
	}
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "posthorn_http_certificate_expiry_timestamp_seconds", Help: "When the certificate of http.tls that is in use ends, in seconds since 1970; only where there is one.",
	}, func() float64 { return float64(files.pair.Load().Leaf.NotAfter.Unix()) })
}
