package component

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPatience(t *testing.T) {
	want := patience{keepAlive: 7 * time.Second, stalled: 20 * time.Second, tick: time.Second, handshake: 10 * time.Second, write: 10 * time.Second}
	if diff := cmp.Diff(want, newPatience(0), cmp.AllowUnexported(patience{})); diff != "" {
		t.Error(diff)
	}
	for _, all := range []time.Duration{3 * time.Second, 8 * time.Second, 30 * time.Second, time.Hour} {
		p := newPatience(all)
		for name, sum := range map[string]time.Duration{
			"nothing is said":       p.keepAlive + p.tick + p.stalled + p.tick + lastWords,
			"a barrier is lost":     p.stalled + p.tick + lastWords,
			"a write is stuck":      p.write + lastWords,
			"there is no handshake": p.handshake,
		} {
			if sum > all || p.tick <= 0 {
				t.Errorf("with %v in all, and when %s: %v", all, name, sum)
			}
		}
	}
}
