package message

import (
	"strings"
	"testing"
)

func TestParseRecipient(t *testing.T) {
	for _, test := range []struct {
		name, in, want string // an empty want: refused
	}{
		{"bare", "user@example.com", "user@example.com"},
		{"upper case is ASCII only", "User@EXAMPLE.com", "user@example.com"},
		{"resource keeps its case", "user@example.com/Phone 1", "user@example.com/Phone 1"},
		{"resource with separators", "user@example.com/a@b/c", "user@example.com/a@b/c"},
		{"composed letters", "jürgen@example.com", "jürgen@example.com"},
		{"decomposed letters", "ju\u0308rgen@example.com", ""},
		{"capital umlaut", "Ürgen@example.com", ""},
		{"sharp s", "strauß@example.com", ""},
		{"capital sharp s", "STRAUẞ@example.com", ""},
		{"final sigma", "ς@example.com", ""},
		{"Cherokee capital", "Ꭰ@example.com", ""},
		{"Georgian capital", "Ა@example.com", ""},
		{"full width", "ｕser@example.com", ""},
		{"joiner", "us\u200der@example.com", ""},
		{"xn-- domain is kept", "user@xn--mnchen-3ya.example", "user@xn--mnchen-3ya.example"},
		{"domain in letters", "user@münchen.example", "user@münchen.example"},
		{"sharp s in the domain", "user@straße.example", ""},
		{"final sigma in the domain", "user@ς.example", ""},
		{"resource that is compatible with another", "user@example.com/x²", ""},
		{"resource with a soft hyphen", "user@example.com/a\u1806b", ""},
		{"empty", "", ""},
		{"no name", "@example.com", ""},
		{"no domain", "user@", ""},
		{"empty resource", "user@example.com/", ""},
		{"domain alone", "example.com", ""},
		{"empty label", "user@a..b", ""},
		{"leading dot", "user@.a", ""},
		{"trailing dot", "user@a.", ""},
		{"two at signs", "a@b@example.com", ""},
		{"space", "a b@example.com", ""},
		{"quote", "a'b@example.com", ""},
		{"bracket", "a<b@example.com", ""},
		{"NUL", "a\x00b@example.com", ""},
		{"line feed", "a@example.com\n", ""},
		{"invalid UTF-8", "a\xff@example.com", ""},
		{"too long", strings.Repeat("a", 1024) + "@example.com", ""},
		{"much too long", strings.Repeat("a", 20000) + "@example.com", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseRecipient(test.in)
			if (err == nil) != (test.want != "") || string(got) != test.want {
				t.Fatalf("ParseRecipient(%q) = %q, %v; want %q", test.in, got, err, test.want)
			}
		})
	}
}

// TestRefusalsOfRecipients: each says what to change, and none in the words of
// a library.
func TestRefusalsOfRecipients(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"name", "a b@example.com", "has a character that a JID cannot have in its name"},
		{"forbidden in names", "a'b@example.com", "has a character that a JID cannot have in its name"},
		{"name that mixes directions", "a\u05d0@example.com", "has a character that a JID cannot have in its name"},
		{"domain", "a@exa mple.com", "has a character that a JID cannot have in its domain"},
		{"domain of a bad label", "a@xn--a.example", "has a character that a JID cannot have in its domain"},
		{"resource", "a@example.com/\u0007", "has a character that a JID cannot have in its resource"},
		{"no name", "@example.com", "is not a JID of the form user@domain"},
		{"no name, empty resource behind", "@example.com/a/", "is not a JID of the form user@domain"},
		{"no domain", "user@", "is not a JID of the form user@domain"},
		{"no domain, resource", "user@/x", "is not a JID of the form user@domain"},
		{"dot alone", "user@.", "has an empty label in its domain"},
		{"two dots", "user@..", "has an empty label in its domain"},
		{"empty resource", "user@example.com/", "has a slash at its end and no resource behind it"},
		{"long name", strings.Repeat("a", 1024) + "@example.com", "has a part that is longer than 1023 bytes"},
		{"long resource", "a@example.com/" + strings.Repeat("a", 1024), "has a part that is longer than 1023 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, err := ParseRecipient(test.in); err == nil || err.Error() != test.want {
				t.Fatalf("ParseRecipient(%q) = %q, %v; want %q", test.in, got, err, test.want)
			}
		})
	}
}

func TestJIDParts(t *testing.T) {
	j := JID("user@example.com/a@b/c")
	if j.Local() != "user" || j.Domain() != "example.com" || j.Bare() != "user@example.com" || j.IsBare() {
		t.Fatalf("parts of %q: %q, %q, %q", j, j.Local(), j.Domain(), j.Bare())
	}
	if d := JID("example.com"); d.Local() != "" || d.Domain() != "example.com" || !d.IsBare() {
		t.Fatalf("parts of %q: %q, %q", d, d.Local(), d.Domain())
	}
}

// TestPlain: what is taken for plain is what the rules leave as it is.
func TestPlain(t *testing.T) {
	const parts = "az09._-"
	for n := range len(parts) * len(parts) * len(parts) * len(parts) {
		word := string([]byte{parts[n%7], parts[n/7%7], parts[n/49%7], parts[n/343]})
		for _, j := range [][2]string{{word, "example.com"}, {"user", word}, {"user", "xn" + word}, {"user", word + ".example"}} {
			if !isPlainName(j[0]) || !isPlainDomain(j[1]) {
				continue
			}
			if got, err := byRules(j[0], j[1], ""); err != nil || got != JID(j[0]+"@"+j[1]) {
				t.Errorf("%s@%s passes for plain, and by the rules it is %q, %v", j[0], j[1], got, err)
			}
		}
	}
}

// FuzzParseRecipient: what is accepted is accepted again as itself, and can
// stand in an XML attribute once escaped.
func FuzzParseRecipient(f *testing.F) {
	for _, seed := range []string{"user@example.com", "User@Example.Com/R", "jürgen@xn--mnchen-3ya.example/x", "ß@x", "a@[::1]", "a@b/c@d", "\u00a0@x", "x@y/\u202e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		first, err := ParseRecipient(in)
		if err != nil {
			if text := err.Error(); strings.Contains(text, "precis") || strings.Contains(text, "idna") {
				t.Fatalf("ParseRecipient(%q) says %q", in, text)
			}
			return
		}
		again, err := ParseRecipient(string(first))
		if err != nil || again != first {
			t.Fatalf("%q became %q, which became %q, %v", in, first, again, err)
		}
		if err := CheckText(string(first)); err != nil {
			t.Fatalf("%q became %q: %v", in, first, err)
		}
		if local, domain := first.Local(), first.Domain(); isPlainName(local) && isPlainDomain(domain) {
			if same, err := byRules(local, domain, ""); err != nil || same != first.Bare() {
				t.Fatalf("%q passes for plain, and by the rules it is %q, %v", first, same, err)
			}
		}
		if first.Local()+"@"+first.Domain() != string(first.Bare()) {
			t.Fatalf("parts of %q do not make it up", first)
		}
	})
}
