package render

import (
	"strings"
	"unicode/utf8"
)

// styled puts a text between two signs of XEP-0393 §5.2, on one line. Where it has the
// sign itself, or nothing else, it stays as it is: the style would end too early.
func styled(sign, text string) string {
	text = oneLine(text)
	if text == "" || strings.Contains(text, sign) {
		return text
	}
	return sign + text + sign
}

// quote marks every line as quoted (XEP-0393 §5.1.3).
func quote(text string) string {
	text = strings.Trim(text, "\n")
	if text == "" {
		return ""
	}
	return "> " + strings.ReplaceAll(text, "\n", "\n> ")
}

// preformatted makes a block of text that is shown as it is (XEP-0393 §5.1.2). A fence
// in it would end it.
func preformatted(text string) string {
	text = strings.Trim(text, "\n")
	if text == "" {
		return ""
	}
	return "```\n" + strings.ReplaceAll(text, "\n```", "\n ```") + "\n```"
}

// cut gives the first n characters of a text, and a sign that there were more.
func cut(n int, text string) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	for i := range text {
		if n--; n <= 0 {
			return strings.TrimRight(text[:i], " \n") + "…"
		}
	}
	return text
}

// cutLines gives the first n lines of a text, and a sign that there were more.
func cutLines(n int, text string) string {
	text = strings.TrimSpace(text)
	all := strings.Split(text, "\n")
	if len(all) <= n {
		return text
	}
	return strings.Join(all[:max(0, n)], "\n") + "\n…"
}

// firstLine gives what a commit is called by, say.
func firstLine(text string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(first)
}

// maxSummary is how much of a message a phone shows at once, in characters.
const maxSummary = 100

// titled puts a title before a text, on one line where they fit: a title alone often does
// not tell what is the matter.
func titled(title, text string) string {
	title, text = cut(2*maxSummary, oneLine(title)), strings.TrimSpace(text)
	switch {
	case title == "" || strings.HasPrefix(text, title):
		return text
	case text == "":
		return title
	case strings.ContainsAny(text, "\n") || strings.HasPrefix(text, ">") || utf8.RuneCountInString(title+text) > maxSummary:
		return title + "\n" + text
	case strings.ContainsAny(title[len(title)-1:], ".:!?"):
		return title + " " + text
	}
	return title + ": " + text
}
