package lease

import (
	"time"

	"golang.org/x/sys/unix"
)

// systemClock is one that counts on while the machine sleeps, as that of Go does not:
// the time since boot (CLOCK_BOOTTIME in clock_gettime(2)). Where a filter of system
// calls forbids that, it is that of Go.
func systemClock() func() time.Duration {
	began := time.Now()
	return func() time.Duration {
		var t unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
			return time.Since(began)
		}
		return time.Duration(t.Nano())
	}
}
