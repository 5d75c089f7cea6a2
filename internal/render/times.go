package render

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// layouts are the forms in which tools write times that are no RFC 3339.
var layouts = [...]string{time.RFC3339Nano, "2006-01-02 15:04:05 MST", "2006-01-02 15:04:05 -0700", "2006-01-02T15:04:05", "2006-01-02 15:04:05.999999999", time.DateTime, time.DateOnly}

// timeOf reads a time: one of layouts, or seconds or milliseconds since 1970.
func timeOf(x any) (time.Time, bool) {
	s := text(x)
	if number, err := strconv.ParseFloat(s, 64); err == nil {
		if number > 1e11 { // a date beyond the year 5000 is meant as milliseconds
			number /= 1000
		}
		return time.Unix(int64(number), 0).UTC(), number > 0 && number < 1e11
	}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t, t.Year() > 1
		}
	}
	return time.Time{}, false
}

// moment writes a time for people, in the zone in which it was given. What cannot be
// read stays as it is, as far as a time is long; the year 1, by which tools mean that
// there is no time, gives nothing.
func moment(x any) string {
	t, ok := timeOf(x)
	switch {
	case !ok && strings.HasPrefix(text(x), "0001-"):
		return ""
	case !ok:
		return cut(40, oneLine(text(x)))
	}
	if name, offset := t.Zone(); offset == 0 || name == "UTC" {
		return t.UTC().Format("2006-01-02 15:04 UTC")
	}
	return t.Format("2006-01-02 15:04 -07:00")
}

// between writes the time from one to another; nothing where they are none.
func between(from, to any) string {
	begin, ok := timeOf(from)
	end, also := timeOf(to)
	if !ok || !also || end.Before(begin) {
		return ""
	}
	return words(end.Sub(begin))
}

func secondsOf(x any) time.Duration {
	n, err := strconv.ParseFloat(text(x), 64)
	if err != nil || !(n >= 0 && n <= 1e9) { // NaN is a number too
		return 0
	}
	return time.Duration(n * float64(time.Second))
}

// words writes a duration in its two largest units.
func words(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 60*60:
		return two(s/60, "m", s%60, "s")
	case s < 24*60*60:
		return two(s/3600, "h", s/60%60, "m")
	}
	return two(s/86400, "d", s/3600%24, "h")
}

func two(large int64, unit string, small int64, smallUnit string) string {
	if small == 0 {
		return fmt.Sprintf("%d%s", large, unit)
	}
	return fmt.Sprintf("%d%s %d%s", large, unit, small, smallUnit)
}
