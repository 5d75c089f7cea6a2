package message

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFileName(t *testing.T) {
	long := strings.Repeat("ä", 80)
	for _, test := range []struct{ in, want string }{
		{"x.png", "x.png"},
		{"Grüße 世界 (1).tar.gz", "Grüße_世界__1_.tar.gz"},
		{"/etc/passwd", "passwd"},
		{`C:\Users\me\a b.txt`, "a_b.txt"},
		{"../../x", "x"},
		{"a/..", ""},
		{"a/", ""},
		{".profile", "profile"},
		{"-", ""},
		{"", ""},
		{" \x00\n", ""},
		{"a\x00\r\nb<>&'\"?#%;\u202egnp.exe", "a___b__________gnp.exe"},
		{"a\xff.png", "a_.png"},
		{"a\ufffd.png", "a_.png"},
		{long + ".jpeg", strings.Repeat("ä", 47) + ".jpeg"},
		{"x." + long, "x." + strings.Repeat("ä", 49)},
	} {
		if got := FileName(test.in); got != test.want {
			t.Errorf("%q is %q, want %q", test.in, got, test.want)
		}
	}
}

// FuzzFileName: a name is one segment of a path, which XMPP can carry, and it is its
// own name.
func FuzzFileName(f *testing.F) {
	f.Add("x.png")
	f.Add("a/b\\c\x00\xff.\u202etxt")
	f.Add(strings.Repeat("e\u0301", 60) + ".png")
	f.Add(strings.Repeat("\x18", 200) + "e")
	f.Fuzz(func(t *testing.T, s string) {
		name := FileName(s)
		if name == "" {
			return
		}
		if !utf8.ValidString(name) || CheckText(name) != nil || len(name) > maxFileName || strings.ContainsAny(name, " /\\\t\r\n'\"<>&?#%") || name[0] == '.' {
			t.Errorf("%q is %q", s, name)
		}
		if u, err := url.Parse("https://example.com/" + name); err != nil || u.Path != "/"+name {
			t.Errorf("%q in a URL is %v, %v", name, u, err)
		}
		if again := FileName(name); again != name {
			t.Errorf("%q is %q and then %q", s, name, again)
		}
	})
}
