package render

import (
	"strings"
	"testing"
	"time"
)

func TestMarkdown(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"plain", "Disk full on web1: 97 %", "Disk full on web1: 97 %"},
		{"strong", "**a** and __b c__, **d**.", "*a* and *b c*, *d*."},
		{"emphasis", "*a* and _b_ (*c*)", "_a_ and _b_ (_c_)"},
		{"both", "***a b***", "*_a b_*"},
		{"emphasis in strong", "**a *b* c** **a *b***", "*a _b_ c* *a _b_*"},
		{"strong in emphasis", "*a **b** c*", "_a *b* c_"},
		{"struck", "~~old~~ new", "~old~ new"},
		{"part of a word", "**Status:**ok", "*Status:*ok"},
		{"no emphasis", "2*3*4 snake_case_name __init__.py * a * 5 ** 6", "2*3*4 snake_case_name *init*.py * a * 5 ** 6"},
		{"patterns of files", "rm *.log and *.txt in /a/*/b/*/c", "rm *.log and *.txt in /a/*/b/*/c"},
		{"escaped", `\*a\* foo\_bar\_baz 1\.`, "*a* foo_bar_baz 1."},
		{"code", "`**a**` ``b`c`` `[x](y)`", "`**a**` b`c `[x](y)`"},
		{"entities", "a &lt;b&gt; &amp;amp; &#39;c&#39; &nosuch; `&lt;`", "a <b> &amp; 'c' &nosuch; `&lt;`"},
		{"a control character's entity", "&#1;0&#2; `x`", "\uFFFD0\uFFFD `x`"},

		{"link", "see [the docs](https://example.com/a_b_(c)), [x](https://example.com \"title\")", "see the docs (https://example.com/a_b_(c)), x (https://example.com)"},
		{"link to itself", "[https://example.com/a](https://example.com/a) <https://example.com/b> <mailto:me@example.com>", "https://example.com/a https://example.com/b me@example.com"},
		{"link in the page", "[above](#above)", "above"},
		{"strong link", "**[a](https://example.com)** [**b**](https://example.com)", "*a (https://example.com)* *b* (https://example.com)"},
		{"code as a link", "[`a_b`](https://example.com)", "`a_b` (https://example.com)"},
		{"addresses stay", "https://example.com/*a*/__b__?c=**d**", "https://example.com/*a*/__b__?c=**d**"},
		{"image", "![panel](https://example.com/p.png) ![](https://example.com/q.png)", "panel (https://example.com/p.png) https://example.com/q.png"},
		{"badge", "[![build](https://example.com/b.svg)](https://example.com/build)", "build (https://example.com/build)"},
		{"no link", "a[0](1) [x] (y) [ ](z)", "a0 (1) [x] (y)   (z)"},

		{"headings", "# One\n## Two **bold** ##\n#hash\n####### seven", "*One*\n*Two bold*\n#hash\n####### seven"},
		{"lists", "* a\n+ b\n  * c\n- d\n1. e", "- a\n- b\n  - c\n- d\n1. e"},
		{"tasks", "- [ ] to do\n- [x] done", "- [ ] to do\n- [x] done"},
		{"separators", "***\n* * *\n___\n---", "---\n---\n---\n---"},
		{"tables", "| a | b |\n|---|---|\n| 1 | **2** |", "| a | b |\n|---|---|\n| 1 | *2* |"},
		{"quotation", "> **a**\n>> b\n\nc", "> *a*\n> > b\n\nc"},
		{"fences", "a\n```go\n**x** <b>\n```\n~~~\ny\n```\n~~~\n**z**", "a\n```\n**x** <b>\n```\n```\ny\n ```\n```\n*z*"},
		{"longer fence", "````\n```\nx\n````", "```\n```\nx\n```"},
		{"fence without end", "```\n**x**", "```\n**x**\n```"},
		{"fence in a quotation", "> ```\n> **x**\n\n**y**", "> ```\n> **x**\n> ```\n\n*y*"},
		{"fence in a list", "- a\n    ```\n    x\n    ```", "- a\n```\n    x\n```"},

		{"comments", "a<!-- b\n**c** -->d", "ad"},
		{"tags", "<details><summary>More</summary>\n<p align=\"center\"><b>x</b> <i>y</i> <code>*z*</code></p></details>", "More\n*x* _y_ `*z*`"},
		{"link in HTML", `<a href="https://example.com/?a=1">here</a> <img width="5" alt="shot" src="https://example.com/s.png"> <img src="https://example.com/t.png" />`, "here (https://example.com/?a=1) shot (https://example.com/s.png) https://example.com/t.png"},
		{"lines in HTML", "<ul><li>a</li>\n<li>b<br>c</li></ul>", "- a\n- b\nc"},
		{"no tags", "Map<String> a<b user <me@example.com> `<b>`", "Map<String> a<b user <me@example.com> `<b>`"},
		{"short codes", ":fire: `:fire:` at 12:30:45 :nosuch: :+1::tada: [::1]:80:fire:", "🔥 `:fire:` at 12:30:45 :nosuch: 👍🎉 [::1]:80:fire:"},
		{"line ends", "a\r\nb\r\n", "a\nb"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := new(run).markdown(test.in); got != test.want {
				t.Errorf("%q:\n got %q\nwant %q", test.in, got, test.want)
			}
		})
	}
}

// costly are texts made to be slow. What grows with their square takes minutes for these
// under the race detector.
func costly(t *testing.T, do func(string)) {
	t.Helper()
	for _, part := range []string{"**a ", "*a", "[", "[a](", "![", "`", "``a", "```\n", "<a ", "<img src=\"", "<!--", "> ", ">", "\\", ":a", "&#1", "__a ", "~~", "https://", "<http://a|", "<!date^", "<", "\x01"} {
		start := time.Now()
		do(strings.Repeat(part, 8<<10/len(part)))
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%q many times takes %v", part, took)
		}
	}
}

func TestMarkdownTime(t *testing.T) { costly(t, func(s string) { new(run).markdown(s) }) }

// FuzzMarkdown: what comes of a text is text that XML allows, hardly longer, and
// nothing more comes of what stood in code.
func FuzzMarkdown(f *testing.F) {
	for _, seed := range []string{"**a *b* c** [d](https://e.f) `**g**`", "# h\n> ```\n> x\n", `<a href="x">y</a> &#1;0&#2; \\*`, "![[a](b)](c)", ":fire:<code>x</code>``y`z``"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := new(run).markdown(text)
		if allowed(got) != got && allowed(text) == text {
			t.Fatalf("%q became %q, which XML does not allow", text, got)
		}
		if len(got) > 4*len(text)+64 {
			t.Fatalf("%d bytes became %d: %q", len(text), len(got), text)
		}
		if code := "`" + strings.NewReplacer("`", "", "\n", "", "\r", "").Replace(allowed(text)) + "`"; len(code) > 2 {
			if got := new(run).markdown("a " + code + " b"); !strings.Contains(got, code) && !strings.Contains(code, "<!--") {
				t.Fatalf("code %q became %q", code, got)
			}
		}
	})
}
