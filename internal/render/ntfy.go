package render

import (
	"mime"
	"strings"
)

// ntfyNames are the headers, which are parameters of the URL too, by which a client of
// ntfy says what else belongs to a text. Never written to.
var ntfyNames = map[string][]string{
	"message":  {"X-Message", "Message", "m"},
	"title":    {"X-Title", "Title", "ti", "t"},
	"priority": {"X-Priority", "Priority", "prio", "p"},
	"tags":     {"X-Tags", "Tags", "Tag", "ta"},
	"click":    {"X-Click", "Click"},
	"attach":   {"X-Attach", "Attach", "a"},
	"markdown": {"X-Markdown", "Markdown", "md"},
}

// ntfy gives what is published: an object with message, title, priority, tags (an array),
// click, attach and markdown, as far as they are there. The payload is that object, or
// the message.
func (r *run) ntfy(payload any) map[string]any {
	said := make(map[string]any)
	switch payload := payload.(type) {
	case map[string]any:
		for name, value := range payload {
			said[name] = value
		}
	case string:
		if payload != "" {
			said["message"] = payload
		}
	}
	for name, aliases := range ntfyNames {
		if value := r.named(aliases); value != "" && empty(said[name]) {
			said[name] = value
		}
	}
	if tags, is := said["tags"].(string); is {
		var list []any
		for tag := range strings.SplitSeq(tags, ",") {
			list = append(list, strings.TrimSpace(tag))
		}
		said["tags"] = list
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
		for _, written := range []string{name, strings.ToLower(name)} {
			if value := r.query(written); value != "" {
				return value
			}
		}
	}
	return ""
}
