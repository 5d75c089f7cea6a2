package httpapi

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"posthorn/internal/fault"
)

// maxUpdate bounds the key of an update that a client names, in bytes.
const maxUpdate = 255

// update says what the messages are about, such that later ones correct earlier ones,
// and whether these are new all the same.
func (x *exchange) update(hook bool, a about) (key string, fresh bool, err error) {
	asked, err := x.asked("update")
	if err != nil {
		return "", false, err
	}
	if len(asked) > maxUpdate || !utf8.ValidString(asked) || strings.ContainsFunc(asked, unicode.IsControl) {
		return "", false, fault.New(fault.Unsendable, "update: has to be one line of at most %d bytes, the same for all messages about one thing", maxUpdate)
	}
	return updateKey(asked, hook, a), a.fresh, nil
}

// updateKey is the key that was asked for; "": none. A webhook's template has one of
// its own, to which its URL says yes or no: a yes that was taken for a key would have
// every alert take the place of another.
func updateKey(asked string, hook bool, a about) string {
	switch {
	case isNo(asked):
		return ""
	case hook && (isYes(asked) || asked == "" && a.update):
		return a.key
	}
	return asked
}
