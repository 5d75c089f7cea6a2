package render

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a listing shows: a person reads it on a phone.
const (
	maxListed = 30  // lines
	maxItems  = 3   // objects of an array
	maxValue  = 200 // characters of a value
	maxMember = 40  // characters of its name
	maxDepth  = 4   // of objects in one another; below they are JSON
)

// listing writes a line, key: value, for each member that has a value, and one for each
// member of an object in it, under its path.
func listing(object any) string {
	var l lister
	l.list(object, "", 0)
	return l.shown(maxListed)
}

// A lister makes lines.
type lister struct {
	skip  func(name string, value any) bool // nil: nothing
	lines []string
	left  int // for how many there was no room
}

func (l *lister) list(value any, path string, depth int) {
	members, isObject := value.(map[string]any)
	items, isArray := value.([]any)
	switch {
	case isObject && depth < maxDepth:
		for _, name := range slices.Sorted(maps.Keys(members)) {
			l.list(members[name], strings.TrimPrefix(path+"."+cut(maxMember, oneLine(name)), "."), depth+1)
		}
	case isArray && depth < maxDepth && !isSimple(value):
		for i, item := range first(maxItems, items) {
			at := path
			if len(items) > 1 {
				at = strings.TrimPrefix(path+"."+strconv.Itoa(i+1), ".")
			}
			l.list(item, at, depth+1)
		}
		l.left += more(maxItems, items)
	default:
		l.add(path, value)
	}
}

// add writes a member and its value on a line, if there is something to be shown.
func (l *lister) add(name string, value any) {
	s := cut(maxValue, oneLine(shownValue(name, value)))
	switch {
	case s == "" || s == "[]" || s == "{}" || secret.MatchString(name) || l.skip != nil && l.skip(name, value):
	case len(l.lines) == maxListed:
		l.left++
	default:
		l.lines = append(l.lines, strings.TrimPrefix(name+": "+s, ": "))
	}
}

func (l *lister) shown(n int) string {
	lines, left := l.lines, l.left
	if len(lines) > n {
		lines, left = lines[:n], left+len(lines)-n
	}
	s := strings.Join(lines, "\n")
	if left > 0 {
		s += "\n… and " + counted(left, "more", "more")
	}
	return s
}

var (
	// secret is the name of what nobody wants in the archive of a chat.
	secret = regexp.MustCompile(`(?i)token|secret|passw|api_?key|signature|authorization|cookie`)
	// timed is the name of a time, which may be written as a number.
	timed = regexp.MustCompile(`(?i)(?:time|timestamp|date|seen|[_-]at|[a-z]At)$`)
)

// shownValue writes a value for people: times as such, and arrays of plain values without
// their brackets.
func shownValue(name string, value any) string {
	items, isArray := value.([]any)
	_, isText := value.(string)
	switch s := text(value); {
	case isArray && isSimple(value):
		s, _ = join(", ", items) // the error is of a text that is cut anyway
		return s
	case timed.MatchString(name) && (!isText || len(s) > len(time.DateOnly)):
		return moment(value)
	default:
		return s
	}
}

// isSimple reports whether there is no object in a value, nor an array in an array.
func isSimple(value any) bool {
	switch value := value.(type) {
	case map[string]any:
		return false
	case []any:
		return !slices.ContainsFunc(value, func(item any) bool {
			_, isArray := item.([]any)
			return isArray || !isSimple(item)
		})
	}
	return true
}
