package component

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"posthorn/internal/fault"
)

// TestNotAlone: a session that another connection takes a part of ends before anything of
// others is written, and begins again when that one has gone.
func TestNotAlone(t *testing.T) {
	for name, test := range map[string]struct {
		elsewhere func(lot int) bool
		want      State
		logged    string
	}{
		"alone":      {func(int) bool { return false }, Up, ""},
		"two":        {func(lot int) bool { return lot%2 == 0 }, Refused, "end the other connection of post.example.com"},
		"the first":  {func(lot int) bool { return lot == 0 }, Refused, "end the other connection of post.example.com"},
		"the middle": {func(lot int) bool { return lot == lots/2 }, Refused, "end the other connection of post.example.com"},
		"the last":   {func(lot int) bool { return lot == lots-1 }, Down, "the server does not answer"},
		"all":        {func(int) bool { return true }, Down, "the server does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log strings.Builder
				began := time.Now()
				s := &server{elsewhere: func(_, lot int) bool { return time.Since(began) < time.Minute && test.elsewhere(lot) }}
				c := s.start(t, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
				time.Sleep(30 * time.Second)
				if got := c.State(); got != test.want || !strings.Contains(log.String(), test.logged) {
					t.Errorf("State() = %v, want %v; the log is\n%s", got, test.want, log.String())
				}
				_, err := c.Deliver(t.Context(), text("user@example.com", "a1"))
				if n := len(s.received()); (n == 1) != (test.want == Up) {
					t.Errorf("%d messages were written", n)
				}
				if test.want != Up {
					wantKind(t, err, fault.Unavailable)
				}
				time.Sleep(time.Minute)
				if c.State() != Up {
					t.Errorf("State() = %v when it is alone; the log is\n%s", c.State(), log.String())
				}
			})
		})
	}
}
