package httpapi

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"posthorn/internal/message"
)

// What a message says of a text that goes as a file: its first lines.
const (
	excerptLines = 5
	excerptSize  = 500 // bytes
)

// escapeCodes are what colours the text of a terminal (ECMA-48 §5.4).
var escapeCodes = regexp.MustCompile("\x1b\\[[0-?]*[ -/]*[@-~]")

// excerpt gives the beginning of a text. What a message cannot carry is left out of it:
// a log may have colours, and the file has it all.
func (c charset) excerpt(head []byte) string {
	decoded := io.Reader(bytes.NewReader(head))
	if c.encoded != nil {
		decoded = c.encoded.NewDecoder().Reader(decoded)
	}
	start := make([]byte, 4*excerptSize)
	n, _ := io.ReadFull(decoded, start)
	text := strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r == '\ufeff' || unicode.IsControl(r) && r != '\n' && r != '\t' || message.CheckText(string(r)) != nil {
			return -1
		}
		return r
	}, message.UnixLines(escapeCodes.ReplaceAllString(string(start[:n]), "")))
	lines := strings.SplitN(strings.TrimLeft(text, "\n"), "\n", excerptLines+1)
	text = strings.Join(lines[:min(len(lines), excerptLines)], "\n")
	if len(text) > excerptSize {
		end := excerptSize
		for !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end]
	}
	if text = strings.TrimRight(text, " \t\n"); text == "" {
		return ""
	}
	return text + "\n…"
}
