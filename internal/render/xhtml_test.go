package render

import (
	"html"
	"regexp"
	"strings"
	"testing"
	"time"

	"posthorn/internal/message"
)

func TestXHTML(t *testing.T) {
	const mono, struck = `<span style="font-family: monospace">`, `<span style="text-decoration: line-through">`
	for _, test := range []struct{ name, body, want string }{
		{"empty", "", ""},
		{"lines", "one\ntwo\n\nthree", "<p>one<br/>two</p><p>three</p>"},
		{"escaped", `a < b & "c"`, "<p>a &lt; b &amp; &#34;c&#34;</p>"},

		// The examples of XEP-0393 §5.2.
		{"strong", "*strong*", "<p><strong>strong</strong></p>"},
		{"strong in plain", "plain *strong* plain", "<p>plain <strong>strong</strong> plain</p>"},
		{"two", "*strong* plain *strong*", "<p><strong>strong</strong> plain <strong>strong</strong></p>"},
		{"lazy", "*strong*plain*", "<p><strong>strong</strong>plain*</p>"},
		{"blank behind the sign", "* plain *strong*", "<p>* plain <strong>strong</strong></p>"},
		{"never opened", "not strong*", "<p>not strong*</p>"},
		{"never closed", "*not strong", "<p>*not strong</p>"},
		{"over lines", "*not \n strong*", "<p>*not <br/> strong*</p>"},
		{"opened twice", "*not *strong", "<p>*not *strong</p>"},
		{"nothing in it", "**", "<p>**</p>"},
		{"signs in it", "****", "<p>****</p>"},
		{"part of a word", "~dis~likes", "<p>" + struck + "dis</span>likes</p>"},
		{"inside a word", "snake_case_name 2*3*4", "<p>snake_case_name 2*3*4</p>"},
		{"nested", "_emphasized containing *strong*_", "<p><em>emphasized containing <strong>strong</strong></em></p>"},
		{"signs in a row", "*_both_* ~*_all_*~", "<p><strong><em>both</em></strong> " + struck + "<strong><em>all</em></strong></span></p>"},
		{"the same sign twice", "**x**", "<p><strong>*x</strong>*</p>"},
		{"monospace", "a `*code*` b", "<p>a " + mono + "*code*</span> b</p>"},
		{"bold monospace", "*`code`*", "<p><strong>" + mono + "code</span></strong></p>"},
		{"no-break space is a blank", "*\u00a0x* *x\u00a0*", "<p>*\u00a0x* *x\u00a0*</p>"},

		{"preformatted", "```\nif  *x*\n```\nthen", "<p>" + mono + "if\u00a0 *x*</span></p><p>then</p>"},
		{"beside the sign", "```go\nx", "<p>" + mono + "go<br/>x</span></p>"},
		{"ends with its line alone", "```\na ```\n```b\n```", "<p>" + mono + "a ```<br/>```b</span></p>"},
		{"ends with the quotation", "> ```\n> code\nplain", "<blockquote><p>" + mono + "code</span></p></blockquote><p>plain</p>"},
		{"quotation", "said:\n> *is*\n>is\n\nwho", "<p>said:</p><blockquote><p><strong>is</strong><br/>is</p></blockquote><p>who</p>"},
		{"nested quotation", ">> a\n> b", "<blockquote><blockquote><p>a</p></blockquote><p>b</p></blockquote>"},

		{"link", "see https://example.com/a_b_c?x=1&y=2.", `<p>see <a href="https://example.com/a_b_c?x=1&amp;y=2">https://example.com/a_b_c?x=1&amp;y=2</a>.</p>`},
		{"link in brackets", "x (https://example.com/a_(b)) y", `<p>x (<a href="https://example.com/a_(b)">https://example.com/a_(b)</a>) y</p>`},
		{"strong link", "*https://example.com*", `<p><strong><a href="https://example.com">https://example.com</a></strong></p>`},
		{"link in code", "`https://example.com`", "<p>" + mono + "https://example.com</span></p>"},
		{"address of a person", "xmpp:user@example.com mailto:user@example.com", `<p><a href="xmpp:user@example.com">xmpp:user@example.com</a> <a href="mailto:user@example.com">mailto:user@example.com</a></p>`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := XHTML(test.body); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestXHTMLTime: what is made to be slow is not.
func TestXHTMLTime(t *testing.T) {
	for _, part := range []string{"*a ", "_*~`a ", "*", "`", "> ", ">", "https://x)", "(", "*a* ", "```\n", ">```\n", "_a *a ~a "} {
		start := time.Now()
		XHTML(strings.Repeat(part, maxOutput/len(part)))
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%q many times takes %v", part, took)
		}
	}
}

// FuzzXHTML: what it makes of any text is XHTML-IM, and has the words of the text.
func FuzzXHTML(f *testing.F) {
	for _, seed := range []string{"*a* _b_ ~c~ `d`", "> a\n>> b\n```\nc", "*_`x`_* https://example.com/(a)).", "a\u00a0*b*\u2028c", strings.Repeat(">", 100) + "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		body = tidy(body)
		made := XHTML(body)
		clean, err := message.SanitizeHTML(made)
		if err != nil {
			t.Fatalf("%q became %s, which %v", body, made, err)
		}
		if got, want := bare(html.UnescapeString(tag.ReplaceAllString(clean, ""))), bare(body); got != want {
			t.Fatalf("%q became %s, whose words are %q, not %q", body, clean, got, want)
		}
	})
}

var tag = regexp.MustCompile(`<[^>]*>`)

// bare gives a text without blanks and signs.
func bare(text string) string {
	return strings.Map(func(r rune) rune {
		if isBlank(r) || strings.ContainsRune("*_~`>", r) {
			return -1
		}
		return r
	}, text)
}
