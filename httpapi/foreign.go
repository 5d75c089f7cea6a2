package httpapi

import (
	"net/http"
	"time"
)

// replyForeign answers clients of other services as those do, and reports whether it
// has. They take 200 alone for success, and the JSON of some is read into numbers and
// times; so nothing but that the message was taken can be said to them.
func (x *exchange) replyForeign() bool {
	now := time.Now().UTC().Truncate(time.Second)
	switch x.target.template {
	case "slack": // some compare the very bytes
		x.replyText(http.StatusOK, "ok")
	case "ntfy":
		topic := ""
		if len(x.to) > 0 {
			topic = x.to[0].Local()
		}
		x.reply(http.StatusOK, "application/json", map[string]any{"id": x.id, "time": now.Unix(), "event": "message", "topic": topic})
	case "gotify":
		x.reply(http.StatusOK, "application/json", map[string]any{"id": 1, "appid": 1, "date": now, "message": ""})
	default:
		return false
	}
	return true
}
