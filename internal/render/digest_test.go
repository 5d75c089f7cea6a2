package render

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDigest(t *testing.T) {
	for _, test := range []struct{ name, payload, want string }{
		{"a text", `"hello\n"`, `text: hello`},
		{"a number", `4.5`, `text: 4.5`},
		{"nothing", `null`, ``},
		{"an empty object", `{"a":{},"b":[],"c":"","d":" ","e":null}`, ``},
		{"text alone", `{"text":" a b\nc "}`, "text: a b\nc"},
		{"title and text", `{"title":"a","message":"b"}`, "title: a, text: b"},
		{"names in any form", `{"Alert-Title":1,"Title":"a","MESSAGE":"b","html-url":"https://c"}`, "title: a, text: b, link: https://c, rest: Alert-Title: 1"},
		{"numbers are words, objects are not", `{"title":7,"message":{"x":true},"body":["y"]}`, "title: 7, rest: body: y\nmessage.x: true"},
		{"the best-known name", `{"description":"c","text":"b","message":"a"}`, "text: a, rest: description: c\ntext: b"},
		{"the outermost", `{"data":{"message":"in"},"description":"out"}`, "text: out, rest: data.message: in"},
		{"objects before arrays", `{"a":[{"title":"item"}],"b":{"title":"one"}}`, "title: one"},
		{"what has happened", `{"action":"opened","issue":{"title":"a"}}`, "title: opened: a"},
		{"what has happened, with a title outside", `{"action":"opened","title":"a"}`, "title: a, rest: action: opened"},
		{"what has happened alone", `{"event":"disk","host":"db","x":{"y":{"z":1}}}`, "title: disk, rest: host: db\nx.y.z: 1"},
		{"what to", `{"message":"down","host":"db","app":"a"}`, "title: a, text: down, rest: host: db"},
		{"said twice", `{"title":"a","name":"a","message":"b","text":"b","x":"b"}`, "title: a, text: b"},
		{"status", `{"message":"a","status":"Critical"}`, "text: a, status: Critical, hue: red"},
		{"status of no hue", `{"message":"a","level":"info"}`, "text: a"},
		{"such a word for something else", `{"message":"a","disk":"low","level":"low"}`, "text: a, rest: disk: low"},
		{"another status", `{"message":"a","status":"OutOfSync"}`, "text: a, rest: status: OutOfSync"},
		{"a status that is known before one that is not", `{"message":"a","status":"OutOfSync","health":"ok"}`, "text: a, status: ok, hue: green, rest: status: OutOfSync"},
		{"status nearby", `{"status":"ok","data":{"title":"a","state":"down"}}`, "title: a, status: down, hue: red, rest: status: ok"},
		{"a type that is a status", `{"message":"a","type":"warning"}`, "text: a, status: warning, hue: yellow"},
		{"another type", `{"message":"a","type":"note"}`, "text: a, rest: type: note"},
		{"links", `{"message":"a","wiki_url":"http://w","self":"https://s","url":"ftp://f"}`, "text: a, link: http://w, rest: url: ftp://f"},
		{"picture", `{"message":"a","image":"https://i"}`, "text: a, image: https://i"},
		{"secrets and ids", `{"message":"a","token":"t","db_password":"p","apiKey":"k","id":1,"orderId":2,"uuid":"u","version":"1","valid":3}`, "text: a, rest: valid: 3"},
		{"secrets of what has no words", `{"a":1,"secret":2,"id":3}`, "rest: a: 1\nid: 3"},
		{"times", `{"x":1,"time":1795338000,"startsAt":"2026-11-22T10:00:00+01:00","date":"2026-11-22","at_time":"soon"}`, "rest: at_time: soon\ndate: 2026-11-22\nstartsAt: 2026-11-22 10:00 +01:00\ntime: 2026-11-22 09:00 UTC\nx: 1"},
		{"arrays of objects", `{"a":[{"b":1},{"b":2},{"b":3},{"b":4}],"c":[{"d":5}]}`, "rest: a.1.b: 1\na.2.b: 2\na.3.b: 3\nc.d: 5\n… and 1 more"},
		{"an array", `[{"title":"a"},"b",{"c":1,"d":2},3,[4,5]]`, "text: - a\n- b\n- c: 1, d: 2\n- 3\n- - 4 - 5"},
		{"an array of one", `[{"title":"a"}]`, "title: a"},
		{"HTML", `{"message":"<p>a <b>b</b></p>"}`, "text: a *b*"},
		{"no HTML", `{"message":"a<b **c** <d>"}`, "text: a<b **c** <d>"},
	} {
		t.Run(test.name, func(t *testing.T) {
			payload, err := ParseJSON(test.payload)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, digestText(payload)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func digestText(payload any) string {
	var said []string
	m := new(run).digest(payload)
	for _, name := range []string{"title", "text", "status", "hue", "link", "image", "rest"} {
		if m[name] != "" {
			said = append(said, fmt.Sprintf("%s: %s", name, m[name]))
		}
	}
	return strings.Join(said, ", ")
}

// TestDigestSame: what is found does not depend on the order of a map.
func TestDigestSame(t *testing.T) {
	payload, err := ParseJSON(`{"a":{"url":"https://a","html_url":"https://b","htmlUrl":"https://c","title":"x"},"b":{"title":"y","status":"ok","state":"down"},"c":1,"d":2}`)
	if err != nil {
		t.Fatal(err)
	}
	want := digestText(payload)
	for range 50 {
		if got := digestText(payload); got != want {
			t.Fatalf("%q, and then %q", want, got)
		}
	}
}

// TestDigestTime: a payload of many objects costs no more than it has bytes.
func TestDigestTime(t *testing.T) {
	for _, part := range []string{`{"a":`, `[`, `[1,`, `{"a":1,"b":`, `[{"title":"a"},`} {
		n := 1000
		closing := map[byte]string{'{': "}", '[': "]"}
		payload, err := ParseJSON(strings.Repeat(part, n) + "1" + strings.Repeat(closing[part[0]], n))
		if err != nil {
			t.Fatal(err)
		}
		flat := map[string]any{"title": "x"}
		for i := range 4 * n {
			flat[fmt.Sprint("m", i)] = fmt.Sprint(i)
		}
		wide := make([]any, n)
		for i := range wide {
			wide[i] = map[string]any{"x": map[string]any{"y": []any{int64(i)}}}
		}
		start := time.Now()
		new(run).digest(payload)
		new(run).digest(flat)
		new(run).digest(map[string]any{"a": wide, "b": payload})
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s many times takes %v", part, took)
		}
	}
}

// TestNamesDocumented: the pages for senders have the names that digest and ntfy know.
func TestNamesDocumented(t *testing.T) {
	page := func(name string) string {
		text, err := os.ReadFile("../../docs/senders/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	listed := func(names []string) string { return "`" + strings.Join(names, "`, `") + "`" }
	for _, names := range [][]string{titleNames, textNames, eventNames, thingNames, statusNames, linkNames, imageNames} {
		if !strings.Contains(page("json.md"), listed(names)) {
			t.Errorf("json.md has no %s", listed(names))
		}
	}
	for _, names := range ntfyNames {
		if !strings.Contains(page("ntfy.md"), listed(names)) {
			t.Errorf("ntfy.md has no %s", listed(names))
		}
	}
	if !strings.Contains(page("json.md"), "at most twelve lines") || maxRest != 12 {
		t.Error("json.md has another number of lines")
	}
}
