package render

import (
	"mime"
	"regexp"
	"strings"
)

// ntfyNames are the headers, which are parameters of the URL too, by which a client of
// ntfy says what belongs to a message. Never written to.
var ntfyNames = map[string][]string{
	"message":  {"X-Message", "Message", "m"},
	"title":    {"X-Title", "Title", "ti", "t"},
	"priority": {"X-Priority", "Priority", "prio", "p"},
	"tags":     {"X-Tags", "Tags", "Tag", "ta"},
	"click":    {"X-Click", "Click"},
	"attach":   {"X-Attach", "Attach", "a"},
	"actions":  {"X-Actions", "Actions", "Action"},
	"markdown": {"X-Markdown", "Markdown", "md"},
	"delay":    {"X-Delay", "Delay", "X-At", "At", "X-In", "In"},
}

// ntfy gives what is published: message, title, click, attach and delay as texts, priority
// as a number from 1 to 5, tags in two lists, emoji and tags, actions that lead to an
// address, each with label and url, and whether the message is markdown. The payload is
// the message, or an object that has all this.
func (r *run) ntfy(payload any) map[string]any {
	said := r.ntfySaid(payload)
	m := map[string]any{
		"priority": ntfyPriority(text(said["priority"])),
		"actions":  ntfyActions(said["actions"]),
		"markdown": isYes(text(said["markdown"])) || strings.HasPrefix(strings.ToLower(r.header("Content-Type")), "text/markdown"),
	}
	for _, name := range []string{"message", "title", "click", "attach", "delay"} {
		m[name] = strings.TrimSpace(text(said[name]))
	}
	m["emoji"], m["tags"] = r.ntfyTags(said["tags"])
	return m
}

// ntfySaid gives what the payload says, and what headers and parameters say beside it.
func (r *run) ntfySaid(payload any) map[string]any {
	said := make(map[string]any)
	object, _ := payload.(map[string]any)
	if empty(get(object, "message")) && empty(get(object, "title")) && empty(get(object, "topic")) {
		object = nil // some other JSON, which is a text for ntfy
	}
	for name, aliases := range ntfyNames {
		said[name] = get(object, name)
		if empty(said[name]) {
			said[name] = r.named(aliases)
		}
	}
	if body := text(payload); object == nil {
		// A header's lines end in two characters. Beside it, ntfy takes the body for a file.
		head := strings.ReplaceAll(text(said["message"]), `\n`, "\n")
		said["message"] = strings.Trim(head+"\n"+body, "\n")
	}
	return said
}

// named gives the first of these headers that is there, or else of the parameters.
func (r *run) named(names []string) string {
	for _, name := range names {
		value := r.header(name)
		if decoded, err := new(mime.WordDecoder).DecodeHeader(value); err == nil {
			value = decoded
		}
		if value != "" {
			return value
		}
	}
	for _, name := range names {
		if value := r.query(strings.ToLower(name)); value != "" {
			return value
		}
	}
	return ""
}

// ntfyPriority reads a priority; 3 is that of most messages. Browsers and proxies may send
// a header of that name too, for something else (RFC 9218).
func ntfyPriority(s string) int {
	switch strings.ToLower(s) {
	case "1", "min":
		return 1
	case "2", "low":
		return 2
	case "4", "high":
		return 4
	case "5", "max", "urgent":
		return 5
	}
	return 3
}

func isYes(s string) bool {
	s = strings.ToLower(s)
	return s == "1" || s == "yes" || s == "true"
}

// ntfyTags tells tags that are short codes of emoji from others.
func (r *run) ntfyTags(tags any) (emoji, words []any) {
	if list, is := tags.(string); is {
		tags = nil
		for tag := range strings.SplitSeq(list, ",") {
			tags = append(each(tags), tag)
		}
	}
	for _, tag := range each(tags) {
		tag := strings.TrimSpace(text(tag))
		found := emojiOf(tag)
		switch {
		case tag == "":
		case found == "" || r.Plain:
			words = append(words, tag)
		default:
			emoji = append(emoji, found)
		}
	}
	return emoji, words
}

// ntfyActions gives the actions that lead to an address. The others do something when they
// are pressed, which needs ntfy.
func ntfyActions(actions any) (links []any) {
	if s, is := actions.(string); is {
		if actions, _ = ParseJSON(s); actions == nil {
			actions = parseActions(s)
		}
	}
	for _, a := range first(maxActions, actions) {
		if strings.EqualFold(text(get(a, "action")), "view") && !empty(get(a, "url")) {
			links = append(links, map[string]any{"label": text(get(a, "label")), "url": text(get(a, "url"))})
		}
	}
	return links
}

const (
	maxActions = 3    // as for ntfy itself
	maxAction  = 2000 // characters of one
)

// ntfyPart is one part of an action as a header has it: perhaps a name, then a value, in
// quotes where it has commas or semicolons in it, then one of those.
var ntfyPart = regexp.MustCompile(`^\s*(?:([-.\w]+)\s*=\s*)?(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^,;]*))\s*([,;]|$)`)

// parseActions reads a header such as "view, Open, https://example.com; …".
func parseActions(s string) (actions []any) {
	s = head(maxAction*maxActions, s)
	for s != "" && len(actions) < maxActions {
		action := make(map[string]any)
		for i, end := 0, ","; end == ","; i++ {
			part := ntfyPart.FindStringSubmatch(s)
			if part == nil {
				return actions
			}
			name := part[1]
			if order := [...]string{"action", "label", "url"}; name == "" && i < len(order) {
				name = order[i]
			}
			action[strings.ToLower(name)] = unquoted(part[2] + part[3] + strings.TrimSpace(part[4]))
			s, end = s[len(part[0]):], part[5]
		}
		actions = append(actions, action)
	}
	return actions
}

// unquoted undoes backslashes.
func unquoted(s string) string {
	return strings.NewReplacer(`\"`, `"`, `\'`, `'`, `\\`, `\`).Replace(s)
}
