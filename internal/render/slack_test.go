package render

import (
	"strings"
	"testing"
	"time"
)

func TestMrkdwn(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"plain", "Disk full: 97 %", "Disk full: 97 %"},
		{"styles", "*a* _b_ ~c~ `d`", "*a* _b_ ~c~ `d`"},
		{"escapes, once", "&lt;b&gt; &amp;amp; &amp;lt; &quot; &nbsp;", "<b> &amp; &lt; &quot; &nbsp;"},
		{"link", "<https://example.com/?a=1&amp;b=2|the page>, <https://example.com/>", "the page (https://example.com/?a=1&b=2), https://example.com/"},
		{"link to itself", "<https://example.com/|example.com> <http://example.com|http://example.com>", "https://example.com/ http://example.com"},
		{"link without a text", "<https://example.com|>", "https://example.com"},
		{"link with escapes", "<https://example.com|a &lt; b>", "a < b (https://example.com)"},
		{"bold link", "*<https://example.com|a>*", "*a (https://example.com)*"},
		{"mail and telephone", "<mailto:me@example.com|me@example.com> <tel:+123|call> <mailto:me@example.com>", "me@example.com call (+123) me@example.com"},
		{"people", "<@U1> <@U1|ann> <@W2|@bob> <!subteam^S1|@ops> <!subteam^S1> <!subteam^S1|ops>", "@U1 @ann @bob @ops @S1 @ops"},
		{"channels", "<#C1> <#C1|general> <#C1|#general>", "#C1 #general #general"},
		{"everybody", "<!here> <!channel|channel> <!everyone|everybody>", "@here @channel @everyone"},
		{"commands", "<!foo> <!foo|bar>", "@foo bar"},
		{"dates", "<!date^1392734382^Posted {date_num} {time_secs}|Posted 2014-02-18> <!date^1392734382^{date}^https://example.com/> <!date^x>", "Posted 2014-02-18 2014-02-18 14:39 UTC x"},
		{"not escaped", "a < b and c > d, <none>, <@>, <>, <a b:c>, 1<2|3>2", "a < b and c > d, <none>, <@>, <>, <a b:c>, 1<2|3>2"},
		{"quotation", "&gt; a\n> b\nc", "> a\n> b\nc"},
		{"code is no style", "`&lt;a&gt; **b** :fire: <https://example.com|c>`", "`<a> **b** :fire: c (https://example.com)`"},
		{"block on its own lines", "see:\n```\nx\n```\ndone", "see:\n```\nx\n```\ndone"},
		{"block in a line", "see ```x *y*``` done", "see \n```\nx *y*\n```\n done"},
		{"block alone", "```x```", "```\nx\n```"},
		{"block without end", "a ```x", "a ```x"},
		{"empty block", "a `````` b", "a `````` b"},
		{"short codes", ":large_green_circle: :white_check_mark: :custom:", "🟢 ✅ :custom:"},
		{"Mattermost", "### Title\n**a** ~~b~~ [c](https://example.com) [https://example.com](https://example.com)", "*Title*\n*a* ~b~ c (https://example.com) https://example.com"},
		{"Mattermost in the middle", "a**b**c ** d ** ~~~~", "a**b**c ** d ** ~~~~"},
		{"line ends", "a\r\nb", "a\nb"},
		{"what XML forbids", "a\x00b", "a\uFFFDb"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := new(run).mrkdwn(test.in); got != test.want {
				t.Errorf("%q:\n got %q\nwant %q", test.in, got, test.want)
			}
		})
	}
}

func TestHue(t *testing.T) {
	for color, want := range map[string]string{
		"danger": "red", "warning": "yellow", "good": "green", "": "", "red": "", "#12": "", "#ggffff": "", "7": "",
		"#D63232": "red", "a30200": "red", "#A32037": "red", "#E01E5A": "red", "#FF0000": "red",
		"#daa038": "yellow", "#FF8000": "yellow", "#CACF29": "yellow", "#ffff00": "yellow",
		"#36a64f": "green", "#2eb886": "green", "#3AA337": "green", "#008000": "green",
		"#3AA3E3": "", "#439FE0": "", "#cccccc": "", "#000000": "", "#ffffff": "", "#800080": "",
	} {
		if got := hue(color); got != want {
			t.Errorf("%s is %q, want %q", color, got, want)
		}
	}
}

func TestSlackTime(t *testing.T) {
	costly(t, func(s string) { new(run).mrkdwn(s) })
	costly(t, func(s string) {
		n := len(s) / 64
		var attachments []any
		for range n {
			attachments = append(attachments, map[string]any{"text": s[:64], "fallback": s[:8]})
		}
		new(run).slackMessage(map[string]any{"text": s, "attachments": attachments})
	})
}

// FuzzMrkdwn: what comes of a text is allowed in XML, hardly longer, and says at least
// the letters that stand outside of angle brackets.
func FuzzMrkdwn(f *testing.F) {
	for _, seed := range []string{"<https://a.b|c> &amp;lt; *d*", "<!date^1^{date}|x> <@U1> ```y``` `z`", "&lt;<&gt;|>", "**a** ~~b~~ [c](d)", "<a:|b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := new(run).mrkdwn(text)
		if allowed(got) != got {
			t.Fatalf("%q became %q, which XML does not allow", text, got)
		}
		if len(got) > 4*len(text)+64 {
			t.Fatalf("%d bytes became %d: %q", len(text), len(got), text)
		}
		if !strings.ContainsAny(text, "<>&:[`") && letters(got) != letters(allowed(text)) {
			t.Fatalf("%q became %q", text, got)
		}
	})
}

func letters(s string) string {
	return strings.Map(func(r rune) rune {
		if isWord(r) {
			return r
		}
		return -1
	}, s)
}

// FuzzTalkative: no JSON makes a built-in template of these do anything but give a
// message or refuse the payload.
func FuzzTalkative(f *testing.F) {
	for _, seed := range []string{
		`{"text":"a","attachments":[{"title":1,"fields":[{"value":[]}],"blocks":[{"type":"section","text":{}}]}]}`,
		`{"blocks":[{"type":"rich_text","elements":[{"type":"rich_text_list","indent":-1,"elements":[{"elements":[{"type":"emoji","name":{}}]}]}]}]}`,
		`{"blocks":[{"type":"table","rows":[[{"text":"a"},{"elements":[{"type":"rich_text_section","elements":[{"text":"b","style":{"bold":1}}]}]}]]}]}`,
		`{"topic":"t","message":null,"tags":"x,y","priority":"max","actions":[{"action":"view"}]}`,
		`{"title":{},"message":["a"],"severity":5,"a":{"b":{"c":[{"d":1}]}}}`,
		`[1,"a",{"b":null}]`, `"x"`, `3`, `null`, `{"extras":{"client::display":7}}`,
	} {
		f.Add(seed)
	}
	set := loaded(f, "")
	f.Fuzz(func(t *testing.T, payload string) {
		value, err := ParseJSON(payload)
		if err != nil {
			return
		}
		for _, name := range []string{"slack", "ntfy", "gotify", "json"} {
			m, err := set.Render(name, Input{Payload: value})
			if err == nil && (m.Body != tidy(m.Body) || len(m.Body) > 16<<10) {
				t.Fatalf("%s makes %q of %q", name, m.Body, payload)
			}
			if err != nil && !strings.Contains(err.Error(), "calling fail") {
				t.Fatalf("%s refuses %q: %v", name, payload, err)
			}
		}
	})
}

// TestSlackLarge: a payload as large as a route takes costs little, since nobody reads
// more than a few lines of it.
func TestSlackLarge(t *testing.T) {
	repeated := func(n int, x any) (list []any) {
		for range n {
			list = append(list, x)
		}
		return list
	}
	word := strings.Repeat("<https://example.com/a|*b*> ", 100)
	field := map[string]any{"title": word, "value": word, "type": "mrkdwn", "text": word, "url": "https://example.com"}
	for name, payload := range map[string]map[string]any{
		"text":        {"text": strings.Repeat(word, 400)},
		"attachments": {"text": word, "attachments": repeated(300, map[string]any{"text": word, "fields": repeated(10, field)})},
		"fields":      {"text": word, "attachments": repeated(1, map[string]any{"text": word, "fields": repeated(500, field), "actions": repeated(5000, field)})},
		"blocks":      {"blocks": repeated(300, map[string]any{"type": "section", "fields": repeated(10, field)})},
		"elements":    {"blocks": repeated(3, map[string]any{"type": "rich_text", "elements": repeated(100, map[string]any{"type": "rich_text_section", "elements": repeated(100, field)})})},
		"rows":        {"blocks": repeated(3, map[string]any{"type": "table", "rows": repeated(100, repeated(10, field))})},
	} {
		start := time.Now()
		new(run).slackMessage(payload)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s take %v", name, took)
		}
	}
}
