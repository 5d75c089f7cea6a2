package render

// Recognize finds the template for a payload, by the headers and the shape that tools
// give theirs; json where it is nobody's that is known.
func Recognize(in Input) string {
	r := run{Input: in}
	for _, mark := range [...]struct{ header, name string }{ // Gitea and Forgejo send GitHub's too, and Forgejo Gitea's
		{"X-Forgejo-Event", "forgejo"},
		{"X-Gitea-Event", "gitea"},
		{"X-Gitlab-Event", "gitlab"},
		{"X-GitHub-Event", "github"},
		{"X-Gotify-Key", "gotify"},
	} {
		if r.header(mark.header) != "" {
			return mark.name
		}
	}
	payload, is := in.Payload.(map[string]any)
	if !is {
		if _, isText := in.Payload.(string); isText {
			return "ntfy"
		}
		return "json"
	}
	for _, s := range shapes {
		if s.fits(payload) {
			return s.name
		}
	}
	return "json"
}

// A shape is the members by which a tool's payload is known: those that it has, and
// those of which it has one.
type shape struct {
	name string
	all  []string
	any  []string
}

// shapes are looked at in this order.
var shapes = [...]shape{
	{"grafana", []string{"alerts", "orgId"}, nil},
	{"grafana", []string{"ruleName", "state"}, nil},
	{"alertmanager", []string{"alerts", "groupKey"}, nil},
	{"uptime-kuma", []string{"monitor", "msg"}, nil},
	{"gitlab", []string{"object_kind"}, []string{"project", "object_attributes"}},
	{"gitlab", []string{"event_name"}, []string{"project_id", "group_id", "user_id"}},
	{"forgejo", []string{"action", "run"}, nil},
	{"github", []string{"repository"}, []string{"sender", "action"}}, // Gitea's and Forgejo's too
	{"github", []string{"sender"}, []string{"organization", "installation"}},
	{"healthchecks", []string{"name", "status"}, []string{"code", "ping_url"}},
	{"healthchecks", []string{"check", "status", "now"}, nil},
	{"ntfy", []string{"topic"}, []string{"message", "title"}},
	{"gotify", []string{"message"}, []string{"priority", "extras"}},
	{"json", []string{"message", "title", "type", "version"}, nil}, // Apprise's, which may have attachments
	{"slack", nil, []string{"attachments", "blocks"}},
	{"slack", []string{"text"}, []string{"username", "channel", "mrkdwn", "icon_emoji", "thread_ts"}},
}

func (s *shape) fits(payload map[string]any) bool {
	for _, member := range s.all {
		if _, has := payload[member]; !has {
			return false
		}
	}
	for _, member := range s.any {
		if _, has := payload[member]; has {
			return true
		}
	}
	return s.any == nil
}
