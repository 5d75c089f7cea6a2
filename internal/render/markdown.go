package render

import (
	"fmt"
	"html"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"posthorn/internal/message"
)

// markdown gives Markdown the form in which chats show it: what XEP-0393 has too is
// written its way, addresses are written out, and comments and HTML's tags are left out.
// Whatever is not clearly Markdown stays as it is, since a text may only be said to be.
func (r *run) markdown(s string) string {
	s = comment.ReplaceAllString(allowed(message.UnixLines(s)), "")
	return strings.Trim(r.markdownBlocks(strings.Split(s, "\n"), 0), "\n")
}

// comment is one of HTML's.
var comment = regexp.MustCompile(`(?s)<!--.*?-->`)

// markdownBlocks writes lines, which stand in depth quotations.
func (r *run) markdownBlocks(lines []string, depth int) string {
	var out []string
	for len(lines) > 0 {
		switch l := lines[0]; {
		case fence.MatchString(l):
			var code []string
			code, lines = fenced(lines)
			out = append(out, preformatted(strings.Join(code, "\n")))
		case strings.HasPrefix(l, ">") && depth < maxQuoted:
			var quoted []string
			quoted, lines = quotation(lines)
			out = append(out, quote(r.markdownBlocks(quoted, depth+1)))
		default:
			out = append(out, r.markdownLine(l))
			lines = lines[1:]
		}
	}
	return strings.Join(out, "\n")
}

// fence begins code, and ends it where nothing stands beside it.
var fence = regexp.MustCompile("^\\s*(```+|~~~+)([^`]*)$")

// fenced takes the lines of code, without their fences, and gives those behind.
func fenced(lines []string) (code, rest []string) {
	opening := fence.FindStringSubmatch(lines[0])[1]
	for i, l := range lines[1:] {
		closing := fence.FindStringSubmatch(l)
		if closing != nil && strings.HasPrefix(closing[1], opening) && strings.TrimSpace(closing[2]) == "" {
			return lines[1 : 1+i], lines[2+i:]
		}
	}
	return lines[1:], nil
}

// quotation takes the lines of a quotation, without their signs, and gives those behind.
func quotation(lines []string) (quoted, rest []string) {
	for len(lines) > 0 && strings.HasPrefix(lines[0], ">") {
		quoted, lines = append(quoted, strings.TrimPrefix(lines[0][1:], " ")), lines[1:]
	}
	return quoted, lines
}

var (
	heading   = regexp.MustCompile(`^ {0,3}#{1,6}[ \t]+(.*?)[ \t#]*$`)
	separator = regexp.MustCompile(`^ {0,3}(?:(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$`)
	bullet    = regexp.MustCompile(`^(\s*)[*+][ \t]+`)
)

func (r *run) markdownLine(l string) string {
	if title := heading.FindStringSubmatch(l); title != nil {
		return styled("*", r.markdownSpans(strings.NewReplacer("**", "", "__", "").Replace(title[1])))
	}
	if separator.MatchString(l) {
		return "---"
	}
	return r.markdownSpans(bullet.ReplaceAllString(l, "$1- "))
}

// asIs is what stands in a line and is no Markdown inside: a character behind a
// backslash, code, an address.
var asIs = regexp.MustCompile("\\\\[!-/:-@\\[-`{-~]|``[^\\n]+?``|`[^`\\n]+`|" +
	`(?i:<(?:code|kbd|samp|tt)>[^<]*</(?:code|kbd|samp|tt)>)|` +
	`<(?:https?://|mailto:)[^<>\s]+>|https?://[^\s<>()\[\]"'*|]*[^\s<>()\[\]"'*|_~.,;:!?]`)

// htmlRules make Markdown of the HTML that may stand in it, in this order.
var htmlRules = rules(
	`(?i)<img\s[^<>]*?alt="([^"<>]*)"[^<>]*?src="([^"<>]*)"[^<>]*>`, "![$1]($2)",
	`(?i)<img\s[^<>]*?src="([^"<>]*)"[^<>]*?alt="([^"<>]*)"[^<>]*>`, "![$2]($1)",
	`(?i)<img\s[^<>]*?src="([^"<>]*)"[^<>]*>`, "![]($1)",
	`(?i)</?(?:b|strong)>`, "**",
	`(?i)</?(?:i|em)>`, "*",
	`(?i)</?(?:del|s|strike)>`, "~~",
	`(?i)<a\s[^<>]*?href="([^"<>]*)"[^<>]*>([^<]*)</a>`, "[$2]($1)",
	`(?i)<br ?/?>`, "\n",
	`(?i)<li(?:\s[^<>]*)?>`, "- ",
	`(?i)</?(?:a|abbr|big|blockquote|center|code|dd|details|dfn|div|dl|dt|font|h[1-6]|hr|img|ins|kbd|li|mark|ol|p|picture|pre|q|samp|small|source|span|sub|summary|sup|table|tbody|td|tfoot|th|thead|tr|tt|u|ul|var)(?:\s[^<>]*)?/?>`, "",
)

// imageRules leave links alone, and mdLink finds them: a text in square brackets and an
// address, perhaps with a title, in round ones.
var (
	imageRules = rules(
		`\[!\[([^\[\]]*)\]\([^()\s]*\)\]\(`, "[$1](",
		`!\[\]\(([^()\s]+)\)`, "$1",
		`!\[`, "[",
		`\[([^\[\]]*)\]\(#[^()\s]*\)`, "$1",
	)
	mdLink = regexp.MustCompile(`\[([^\[\]]+)\]\(((?:[^()\s]|\([^()\s]*\))+)(?: +["'][^()]*["'])?\)`)
)

// opened is where a sign opens a style: where XEP-0393 §5.2 lets it, and behind a bracket
// and the like.
const opened = "(^|[\\s(\\[{\"'>:,;~_\x03-])"

// styleRules turn what is styled in a line into XEP-0393, in this order. U+0003 is the
// asterisk that is written in the end.
var styleRules = rules(
	opened+`\*\*\*([^\s*](?:[^*]*?[^\s*])??)\*\*\*`, "${1}\x03_${2}_\x03",
	opened+`\*\*([^\s*](?:.*?\S)??\*?)\*\*`, "${1}\x03${2}\x03",
	opened+`__([^\s_](?:.*?\S)??)__\b`, "${1}\x03${2}\x03",
	opened+`\*([^\s*./](?:[^*]*?[^\s*/])??)\*\B`, "${1}_${2}_", // no pattern of files
	opened+`~~([^\s~](?:.*?\S)??)~~`, "${1}~${2}~",
	"\x03", "*",
)

// A rule is a pattern, and what takes the place of what it matches.
type rule struct {
	is   *regexp.Regexp
	gets string
}

// rules makes them of pairs.
func rules(pairs ...string) (all []rule) {
	for pair := range slices.Chunk(pairs, 2) {
		all = append(all, rule{regexp.MustCompile(pair[0]), pair[1]})
	}
	return all
}

func apply(rules []rule, s string) string {
	for _, r := range rules {
		s = r.is.ReplaceAllString(s, r.gets)
	}
	return s
}

// markdownSpans writes what stands in a line. The pieces that no rule may touch are put
// aside meanwhile: their numbers stand between U+0001 and U+0002, which no text has,
// since XML does not allow them.
func (r *run) markdownSpans(s string) string {
	var aside []string
	s = asIs.ReplaceAllStringFunc(s, func(piece string) string {
		aside = append(aside, literal(piece))
		return fmt.Sprintf("\x01%d\x02", len(aside)-1)
	})
	whole := func(s string) string {
		return putAside.ReplaceAllStringFunc(s, func(piece string) string {
			n, _ := strconv.Atoi(piece[1 : len(piece)-1]) // it is one of ours
			return aside[n]
		})
	}
	s = apply(imageRules, apply(htmlRules, s))
	s = mdLink.ReplaceAllStringFunc(s, func(found string) string {
		parts := mdLink.FindStringSubmatch(found)
		if target := whole(parts[2]); link(whole(parts[1]), target) == target {
			return parts[2]
		}
		return parts[1] + " (" + parts[2] + ")"
	})
	s = entity.ReplaceAllStringFunc(apply(styleRules, s), func(e string) string { return allowed(html.UnescapeString(e)) })
	return whole(r.shortCodes(s))
}

var (
	entity   = regexp.MustCompile(`&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z0-9]{1,31});`)
	htmlCode = regexp.MustCompile(`(?i)^<(?:code|kbd|samp|tt)>([^<]*)<`)
	putAside = regexp.MustCompile("\x01[0-9]+\x02")
)

// literal writes what asIs has found.
func literal(piece string) string {
	if code := htmlCode.FindStringSubmatch(piece); code != nil {
		return styled("`", allowed(html.UnescapeString(code[1])))
	}
	switch {
	case piece[0] == '\\':
		return piece[1:]
	case strings.HasPrefix(piece, "``"):
		return styled("`", strings.Trim(piece, "`"))
	case piece[0] == '<':
		return strings.TrimPrefix(piece[1:len(piece)-1], "mailto:")
	}
	return piece
}
