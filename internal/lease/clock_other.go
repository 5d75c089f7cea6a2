//go:build !linux

package lease

import "time"

// systemClock is that of Go, which may stand still while the machine sleeps.
func systemClock() func() time.Duration {
	began := time.Now()
	return func() time.Duration { return time.Since(began) }
}
