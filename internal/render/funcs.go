package render

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/template"
)

// A Function is what templates can call, for the documentation.
type Function struct{ Name, Use, Gives string }

// Functions are those that posthorn adds to the ones of text/template.
var Functions = []Function{
	{"get", `get . "labels" "severity"`, "the value at that path, or nothing; numbers count array items"},
	{"each", `each . "alerts"`, "the items of the array at that path, none where it is missing"},
	{"pick", `pick . "title" "name"`, "the first of these members that is there and not empty"},
	{"where", `where .alerts "status" "firing" "resolved"`, "the items whose member has one of these values, in the values' order"},
	{"except", `except .labels .commonLabels "alertname"`, "an object without these members, and those that another object has"},
	{"first", `first 5 .alerts`, "the first items"},
	{"more", `more 5 .alerts`, "how many items there are beyond those"},
	{"is", `is .action "opened" "closed"`, "whether a value is one of these, written as text"},
	{"isText", `isText .x`, "whether a value is a text, and no number, object or array"},
	{"contains", `contains "error" .text`, "whether a text has another one in it"},
	{"default", `default "none" .x`, "the last value, or the first where that is empty"},
	{"add", `add 1 2`, "the sum"},
	{"count", `count 3 "alert" "alerts"`, "3 alerts, and 1 alert"},
	{"join", `join ", " .tags`, "the items, with a text between them"},
	{"pairs", `pairs .labels`, "key=value, key=value"},
	{"digest", `digest .`, "what an object of any tool says, by the names that most use: title, text, status with its hue (red, yellow, green), link, image, and rest, a line for what else there is"},
	{"listing", `listing .`, "a line, key: value, for everything in an object"},
	{"json", `json .x`, "a value as JSON"},
	{"line", `line 100 .text`, "a text on one line, of at most so many characters"},
	{"cut", `cut 500 .text`, "the first so many characters of a text"},
	{"lines", `lines 5 .text`, "the first so many lines of a text"},
	{"firstLine", `firstLine .message`, "the first line of a text, without a sign that there were more"},
	{"head", `head 7 .sha`, "the first so many characters, without a sign that there were more"},
	{"trim", `trim .text`, "a text without blanks around it"},
	{"trimPrefix", `trimPrefix "refs/heads/" .ref`, "a text without its beginning"},
	{"replace", `replace "old" "new" .text`, "a text with another one replaced"},
	{"upper", `upper .x`, "capitals"},
	{"lower", `lower .x`, "small letters"},
	{"capital", `capital .x`, "a text whose first letter is a capital"},
	{"bold", `bold .x`, "*bold*, on one line"},
	{"italic", `italic .x`, "_italic_, on one line"},
	{"strike", `strike .x`, "~struck through~, on one line"},
	{"code", `code .x`, "`code`, on one line"},
	{"quote", `quote .text`, "lines that begin with >"},
	{"pre", `pre .text`, "a block of text as it is"},
	{"titled", `titled .title .text`, "a title and a text, on one line where they fit"},
	{"sign", `sign "🔥" .text`, "a text with a sign before it, where it has none"},
	{"emoji", `emoji "🔥" "FIRING:"`, "the first, or the second where emoji are not wanted"},
	{"time", `time .startsAt`, "a time such as 2026-11-22 09:00 UTC"},
	{"duration", `duration .startsAt .endsAt`, "the time between, such as 2h 5m"},
	{"seconds", `seconds 125`, "a number of seconds, such as 2m 5s"},
	{"markdown", `markdown .text`, "Markdown in the form in which chats show it"},
	{"mrkdwn", `mrkdwn .text`, "Slack's mrkdwn in the form in which chats show it"},
	{"slack", `slack .`, "what a message to Slack says, with its attachments and blocks: text, username, hue (red, yellow, green or nothing) and image"},
	{"ntfy", `ntfy .`, "what a request to ntfy says in its body, headers and query: message, title, priority (1 to 5), emoji and tags, actions with label and url, click, attach, delay, and whether it is markdown"},
	{"header", `header "X-GitHub-Event"`, "a header of the request"},
	{"query", `query "env"`, "a parameter of the request's URL"},
	{"fail", `fail "has no text"`, "nothing: the answer is 422 with these words"},
}

// functions are those that templates may call. Those of text/template whose result can
// be larger than what they are given are replaced, since chained they would fill the
// memory.
func functions(r *run) template.FuncMap {
	return template.FuncMap{
		"tick": r.tick,
		"get":  get, "each": each, "pick": pick, "where": where, "except": except, "first": first, "more": more,
		"is": func(x any, values ...any) bool {
			return slices.ContainsFunc(values, func(v any) bool { return text(x) == text(v) })
		},
		"isText": func(x any) bool {
			_, is := x.(string)
			return is
		},
		"contains": func(part, x any) bool { return strings.Contains(text(x), text(part)) },
		"default":  defaultTo,
		"add":      func(a, b any) int64 { return whole(a) + whole(b) },
		"count":    counted,
		"join":     join, "pairs": pairs, "digest": r.digest, "listing": func(x any) (string, error) { return within(listing(x)) },
		"json":       func(x any) (string, error) { return within(asJSON(x)) },
		"line":       func(n int, x any) string { return cut(n, oneLine(text(x))) },
		"cut":        func(n int, x any) string { return cut(n, text(x)) },
		"lines":      func(n int, x any) string { return cutLines(n, text(x)) },
		"firstLine":  func(x any) string { return firstLine(text(x)) },
		"head":       func(n int, x any) string { return head(n, text(x)) },
		"trim":       func(x any) string { return strings.TrimSpace(text(x)) },
		"trimPrefix": func(prefix string, x any) string { return strings.TrimPrefix(text(x), prefix) },
		"replace":    replace,
		"upper":      func(x any) string { return strings.ToUpper(text(x)) },
		"lower":      func(x any) string { return strings.ToLower(text(x)) },
		"capital":    capital,
		"bold":       func(x any) string { return styled("*", text(x)) },
		"italic":     func(x any) string { return styled("_", text(x)) },
		"strike":     func(x any) string { return styled("~", text(x)) },
		"code":       func(x any) string { return styled("`", text(x)) },
		"quote":      func(x any) (string, error) { return within(quote(text(x))) },
		"pre":        func(x any) (string, error) { return within(preformatted(text(x))) },
		"emoji":      r.emoji, "sign": func(mark string, x any) string { return sign(mark, text(x)) },
		"titled": func(title, x any) string { return titled(text(title), text(x)) },
		"time":   moment, "duration": between, "seconds": func(x any) string { return words(secondsOf(x)) },
		"markdown": func(x any) (string, error) { return within(r.markdown(cut(maxStyled, text(x)))) },
		"mrkdwn":   func(x any) (string, error) { return within(r.mrkdwn(cut(maxStyled, text(x)))) },
		"slack":    r.slackMessage,
		"ntfy":     r.ntfy, "header": r.header, "query": r.query,
		"fail":  func(x any) (string, error) { return "", errors.New(text(x)) },
		"print": sprint, "println": sprintln, "printf": sprintf,
		"html":     func(x any) (string, error) { return within(template.HTMLEscapeString(text(x))) },
		"js":       func(x any) (string, error) { return within(template.JSEscapeString(text(x))) },
		"urlquery": func(x any) (string, error) { return within(url.QueryEscape(text(x))) },
	}
}

// maxStyled bounds what is read as a language of its own, in characters: nobody reads
// more of it in a chat.
const maxStyled = 16_000

// within refuses a text that is larger than any message.
func within(s string) (string, error) {
	if len(s) > maxOutput {
		return "", errTooMuch
	}
	return s, nil
}

// text writes a value: what is no text as JSON.
func text(x any) string {
	switch x := x.(type) {
	case nil:
		return ""
	case string:
		return x
	case map[string]any, []any:
		return asJSON(x)
	}
	return fmt.Sprint(x)
}

func asJSON(x any) string {
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(x); err != nil { // a value that no payload has
		return fmt.Sprint(x)
	}
	return strings.TrimSpace(out.String())
}

// at gives the value at a path, nil where there is none.
func at(x any, path []any) any {
	for _, step := range path {
		switch value := x.(type) {
		case map[string]any:
			x = value[text(step)]
		case []any:
			i, is := step.(int)
			if !is || i < 0 || i >= len(value) {
				return nil
			}
			x = value[i]
		default:
			return nil
		}
	}
	return x
}

// get gives "" where there is nothing, which prints as nothing.
func get(x any, path ...any) any {
	if found := at(x, path); found != nil {
		return found
	}
	return ""
}

func each(x any, path ...any) []any {
	switch found := at(x, path).(type) {
	case nil:
		return nil
	case []any:
		return found
	case string:
		if found == "" {
			return nil
		}
		return []any{found}
	default:
		return []any{found}
	}
}

func pick(x any, members ...any) any {
	for _, member := range members {
		if found := at(x, []any{member}); !empty(found) {
			return found
		}
	}
	return ""
}

func empty(x any) bool {
	truth, _ := template.IsTrue(x)
	return !truth
}

func defaultTo(otherwise, x any) any {
	if empty(x) {
		return otherwise
	}
	return x
}

func where(list any, member string, values ...any) []any {
	var found []any
	seen := make(map[string]bool) // so that an item comes once
	for _, value := range values {
		wanted := text(value)
		for _, item := range each(list) {
			if !seen[wanted] && text(at(item, []any{member})) == wanted {
				found = append(found, item)
			}
		}
		seen[wanted] = true
	}
	return found
}

func except(object any, members ...any) map[string]any {
	rest, _ := object.(map[string]any)
	rest = maps.Clone(rest)
	for _, member := range members {
		if other, is := member.(map[string]any); is {
			for name := range other {
				delete(rest, name)
			}
		}
		delete(rest, text(member))
	}
	return rest
}

func first(n int, list any) []any {
	items := each(list)
	return items[:min(max(n, 0), len(items))]
}

func more(n int, list any) int { return max(0, len(each(list))-max(n, 0)) }

func whole(x any) int64 {
	switch x := x.(type) {
	case int:
		return int64(x)
	case int64:
		return x
	case decimal:
		return int64(x)
	}
	return 0
}

func counted(n any, one, several string) string {
	if whole(n) == 1 {
		return "1 " + one
	}
	return fmt.Sprint(whole(n)) + " " + several
}

func head(n int, s string) string {
	for i := range s {
		if n--; n < 0 {
			return s[:i]
		}
	}
	return s
}

func capital(x any) string {
	s := text(x)
	first := head(1, s)
	return strings.ToUpper(first) + s[len(first):]
}

func join(separator string, list any) (string, error) {
	var out bounded
	for i, item := range each(list) {
		if i > 0 {
			_, _ = out.Write([]byte(separator))
		}
		if _, err := out.Write([]byte(text(item))); err != nil {
			return "", err
		}
	}
	return out.String(), nil
}

func pairs(object any) (string, error) {
	members, _ := object.(map[string]any)
	var all []any
	for _, name := range slices.Sorted(maps.Keys(members)) {
		all = append(all, name+"="+oneLine(text(members[name])))
	}
	return join(", ", all)
}

func replace(before, after string, x any) (string, error) {
	s := text(x)
	if before == "" {
		return s, nil
	}
	var out bounded
	for {
		i := strings.Index(s, before)
		if i < 0 {
			_, err := out.Write([]byte(s))
			return out.String(), err
		}
		_, _ = out.Write([]byte(s[:i]))
		if _, err := out.Write([]byte(after)); err != nil {
			return "", err
		}
		s = s[i+len(before):]
	}
}

// sprint is print, which has a space between two values that are no texts.
func sprint(values ...any) (string, error) {
	var out bounded
	afterText := true
	for _, x := range values {
		_, isText := x.(string)
		if !afterText && !isText {
			_, _ = out.Write([]byte(" "))
		}
		if _, err := out.Write([]byte(text(x))); err != nil {
			return "", err
		}
		afterText = isText
	}
	return out.String(), nil
}

func sprintln(values ...any) (string, error) {
	words, err := join(" ", values)
	return words + "\n", err
}

// sprintf is printf for short formats without widths of four digits, or of a value, nor
// an index, and for values that are not too large together: what it gives is a few times
// as large at most.
func sprintf(format string, values ...any) (string, error) {
	if len(format) > 1024 || len(values) > 64 || tooWide(format) {
		return "", errors.New("the format is too long, or has a width that is")
	}
	size := 0
	for i, value := range values {
		switch value.(type) {
		case map[string]any, []any:
			values[i] = text(value)
		}
		if s, is := values[i].(string); is {
			size += len(s)
		}
	}
	if size > maxOutput {
		return "", errTooMuch
	}
	return within(fmt.Sprintf(format, values...))
}

func tooWide(format string) bool {
	verb, digits := false, 0
	for _, c := range format {
		switch {
		case c == '%':
			verb, digits = !verb, 0
		case verb && c == '.':
			digits = 0
		case verb && '0' <= c && c <= '9':
			digits++
		case verb && (c == '*' || c == '['):
			return true
		case verb && !strings.ContainsRune("+-# ", c):
			verb = false
		}
		if digits > 3 {
			return true
		}
	}
	return false
}

func (r *run) emoji(sign, word string) string {
	if r.Plain {
		return word
	}
	return sign
}

func (r *run) header(name string) string {
	if r.Header == nil {
		return ""
	}
	return r.Header(name)
}

func (r *run) query(name string) string {
	if r.Query == nil {
		return ""
	}
	return r.Query(name)
}
