package component

import (
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/secret"
	"posthorn/internal/stream"
)

const (
	// maxSlotURL and maxSlotHeader bound what a service can make us keep and write, in
	// bytes.
	maxSlotURL    = 4 << 10
	maxSlotHeader = 16 << 10
)

// A Slot is where a file goes by HTTP PUT, and from where it is fetched (XEP-0363 §4).
// The URLs are as the service gave them.
type Slot struct {
	Service  string // whose it is
	Put, Get string
	Header   map[string][]secret.Value // of the PUT: Authorization, Cookie and Expires alone
}

// readSlot reads what a service gives (XEP-0363 §4).
func readSlot(answer *stream.Element) (slot Slot, ok bool) {
	given := answer.Child(nsUpload, "slot")
	put, get := given.Child(nsUpload, "put"), given.Child(nsUpload, "get")
	if put == nil || get == nil {
		return slot, false
	}
	slot = Slot{Put: put.Attr("url"), Get: get.Attr("url"), Header: make(map[string][]secret.Value)}
	size := 0
	for _, header := range put.Children {
		if header.Name.Space != nsUpload || header.Name.Local != "header" {
			continue
		}
		name, value := textproto.CanonicalMIMEHeaderKey(withoutNewlines(header.Attr("name"))), withoutNewlines(header.Text)
		switch name {
		case "Authorization", "Cookie", "Expires": // the others must not be sent (§4)
			slot.Header[name] = append(slot.Header[name], secret.New(value))
			size += len(value)
		}
	}
	return slot, len(slot.Put) <= maxSlotURL && len(slot.Get) <= maxSlotURL && size <= maxSlotHeader
}

// withoutNewlines is demanded of header names and values (XEP-0363 §4): what stood
// behind one would be a header of its own.
func withoutNewlines(s string) string {
	return strings.NewReplacer("\r", "", "\n", "").Replace(s)
}

// slotRefusals says what an error of the service means for the sender; all others mean
// Unavailable.
var slotRefusals = map[string]fault.Kind{
	"bad-request":           fault.Unsendable,
	"forbidden":             fault.Forbidden,
	"jid-malformed":         fault.Unsendable,
	"not-acceptable":        fault.Unsendable,
	"not-allowed":           fault.Forbidden,
	"not-authorized":        fault.Forbidden,
	"policy-violation":      fault.Forbidden,
	"registration-required": fault.Forbidden,
	"subscription-required": fault.Forbidden,
}

// slotRefused says why a service gave no slot, and who can change that (XEP-0363 §5).
func (o *Options) slotRefused(address, host string, answer *stream.Element) *fault.Error {
	e := answer.Child(answer.Name.Space, "error")
	condition, text := e.Condition(nsStanzaErrors)
	if large := e.Child(nsUpload, "file-too-large"); large != nil {
		limit := int64(0)
		if said := large.Child(nsUpload, "max-file-size"); said != nil {
			limit, _ = strconv.ParseInt(strings.TrimSpace(said.Text), 10, 64)
		}
		return tooLargeFor(address, limit)
	}
	reason := oneLine(condition)
	if text != "" {
		reason += ": " + oneLine(text)
	}
	kind, known := slotRefusals[condition]
	switch {
	case kind == fault.Forbidden && known:
		return fault.New(kind, "the upload service %s refuses posthorn (%s): let it in, by %q in http_file_share_access of Component %q in prosody.cfg.lua, or by {allow: {server: %s}} in access of mod_http_upload in ejabberd.yml", address, reason, o.Domain, address, o.Domain)
	case known:
		return fault.New(kind, "the upload service %s does not take the file (%s)", address, reason)
	case condition == "resource-constraint":
		return fault.New(fault.Unavailable, "the upload service %s takes no more of you for now (%s): try again later", address, reason).MayPass().After(retryAt(e))
	}
	return fault.New(fault.Unavailable, "the upload service %s for %s does not work (%s)", address, host, reason).MayPass()
}

func tooLargeFor(address string, limit int64) *fault.Error {
	if limit <= 0 {
		return fault.New(fault.TooLarge, "the file is too large for the upload service %s", address)
	}
	return fault.New(fault.TooLarge, "the file is larger than the %d bytes that the upload service %s takes", limit, address)
}

// Quotas are counted by the day (Prosody's), so a try each hour is often enough, and no
// service can keep a sender away for longer than a day.
const (
	quotaWait    = time.Hour
	longestQuota = 24 * time.Hour
)

// retryAt is how long to wait by the service's word (XEP-0363 §5), or by ours.
func retryAt(e *stream.Element) time.Duration {
	retry := e.Child(nsUpload, "retry")
	if retry == nil {
		return quotaWait
	}
	at, err := time.Parse(time.RFC3339, retry.Attr("stamp")) // XEP-0082 §3.2, in UTC
	if err != nil {
		return quotaWait
	}
	return min(max(time.Until(at), time.Second), longestQuota)
}
