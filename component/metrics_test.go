package component

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// TestLabelsAreThere: a counter that begins with its first event would hide that one from
// every rate, and so from alerts.
func TestLabelsAreThere(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry(), newQueue(1), &rooms{}, func() int { return 0 })
	outcomes := testutil.CollectAndCount(m.messages)
	for _, kind := range fault.Kinds() {
		m.delivered(outcome{err: fault.New(kind, "no")})
	}
	m.delivered(outcome{status: message.Delivered})
	m.delivered(outcome{status: message.Routed})
	m.withdrawn()
	if got := testutil.CollectAndCount(m.messages); got != outcomes {
		t.Errorf("%d outcomes, and %d of them were there from the start", got, outcomes)
	}
}
