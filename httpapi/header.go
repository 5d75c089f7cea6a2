package httpapi

import (
	"net/http"
	"unicode/utf8"

	"posthorn/internal/fault"
)

// single reads a header that may be given once; its name is in canonical form.
// Of two, a proxy before us may have believed the other one.
func single(header http.Header, name string) (value string, given bool, err error) {
	switch lines := header[name]; len(lines) {
	case 0:
		return "", false, nil
	case 1:
		return lines[0], true, nil
	}
	return "", true, fault.New(fault.Malformed, "there is more than one %s header", name)
}

// text reads bytes whose charset nobody told: UTF-8, or else Latin-1, in which
// browsers and old clients send what is not ASCII.
func text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return string(runes)
}
