package render

import (
	"maps"
	"slices"
	"strings"
)

// What a listing shows: a person reads it on a phone.
const (
	maxListed = 30  // lines
	maxValue  = 200 // characters of a value
	maxMember = 40  // characters of its name
	maxDepth  = 4   // of objects in one another; below they are JSON
)

// listing writes a line, key: value, for each member that has a value, and one for each
// member of an object in it, under its path.
func listing(object any) (string, error) {
	var lines []any
	left := list(object, "", 0, &lines)
	out, err := join("\n", lines)
	if left > 0 {
		out += "\n… and " + counted(left, "more", "more")
	}
	return out, err
}

// list adds the lines of a value, and gives how many there was no room for.
func list(value any, path string, depth int, lines *[]any) (left int) {
	members, is := value.(map[string]any)
	if !is || depth == maxDepth {
		s := cut(maxValue, oneLine(text(simple(value))))
		switch {
		case s == "" || s == "[]" || s == "{}":
			return 0
		case len(*lines) == maxListed:
			return 1
		}
		*lines = append(*lines, strings.TrimPrefix(path+": "+s, ": "))
		return 0
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		left += list(members[name], strings.TrimPrefix(path+"."+cut(maxMember, oneLine(name)), "."), depth+1, lines)
	}
	return left
}

// simple joins an array of plain values.
func simple(value any) any {
	items, is := value.([]any)
	if !is || slices.ContainsFunc(items, func(item any) bool {
		switch item.(type) {
		case map[string]any, []any:
			return true
		}
		return false
	}) {
		return value
	}
	if joined, err := join(", ", items); err == nil {
		return joined
	}
	return value
}
