package message

import (
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A File goes to the server's upload service, and its link into the message
// (XEP-0363).
type File struct {
	Name string // as FileName gives it
	Type string // its media type, without parameters
	Size int64  // bytes
}

// maxFileName keeps a name within what file systems and URLs of services take, in
// bytes: escaped, three times as many.
const maxFileName = 100

// FileName makes of a client's word for a file a name that every service takes, or ""
// where nothing is left of it: the end of a path, of letters, digits and the
// characters - _ and . alone, since the name comes to stand in a URL, and some
// services put it into one as it is. A long one keeps its extension, by which
// recipients' clients know what it is.
func FileName(s string) string {
	s = s[strings.LastIndexAny(s, `/\`)+1:]
	s = strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.L, unicode.M, unicode.Nd) && r != utf8.RuneError || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '_'
	}, strings.TrimSpace(strings.ToValidUTF8(s, "_")))
	s = strings.TrimLeft(s, ".") // a hidden file, or no name at all
	if s = shorten(s); strings.Trim(s, "-_.") == "" {
		return ""
	}
	return s
}

// shorten cuts a file name, but not its extension.
func shorten(s string) string {
	if len(s) <= maxFileName {
		return s
	}
	extension := path.Ext(s)
	if len(extension) > maxFileName/2 {
		extension = ""
	}
	end := maxFileName - len(extension)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + extension
}
