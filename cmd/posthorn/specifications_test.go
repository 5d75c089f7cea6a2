package main

import (
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/specifications.md")

// titles are those of the documents that the code cites.
var titles = map[string]string{
	"RFC 2046": "Multipurpose Internet Mail Extensions (MIME) Part Two: Media Types",
	"RFC 2047": "MIME Part Three: Message Header Extensions for Non-ASCII Text",
	"RFC 3339": "Date and Time on the Internet: Timestamps",
	"RFC 3920": "Extensible Messaging and Presence Protocol (XMPP): Core, obsolete",
	"RFC 3986": "Uniform Resource Identifier (URI): Generic Syntax",
	"RFC 4291": "IP Version 6 Addressing Architecture",
	"RFC 4616": "The PLAIN Simple Authentication and Security Layer (SASL) Mechanism",
	"RFC 5802": "Salted Challenge Response Authentication Mechanism (SCRAM)",
	"RFC 5929": "Channel Bindings for TLS",
	"RFC 6120": "Extensible Messaging and Presence Protocol (XMPP): Core",
	"RFC 6121": "XMPP: Instant Messaging and Presence",
	"RFC 6266": "Use of the Content-Disposition Header Field in HTTP",
	"RFC 6585": "Additional HTTP Status Codes",
	"RFC 6750": "The OAuth 2.0 Authorization Framework: Bearer Token Usage",
	"RFC 6797": "HTTP Strict Transport Security (HSTS)",
	"RFC 6838": "Media Type Specifications and Registration Procedures",
	"RFC 7239": "Forwarded HTTP Extension",
	"RFC 7578": "Returning Values from Forms: multipart/form-data",
	"RFC 7617": "The 'Basic' HTTP Authentication Scheme",
	"RFC 7622": "XMPP: Address Format",
	"RFC 7677": "SCRAM-SHA-256 and SCRAM-SHA-256-PLUS SASL Mechanisms",
	"RFC 8259": "The JavaScript Object Notation (JSON) Data Interchange Format",
	"RFC 8265": "PRECIS: Usernames and Passwords",
	"RFC 9110": "HTTP Semantics",
	"RFC 9112": "HTTP/1.1",
	"RFC 9218": "Extensible Prioritization Scheme for HTTP",
	"RFC 9266": "Channel Bindings for TLS 1.3",
	"RFC 9457": "Problem Details for HTTP APIs",
	"RFC 9512": "YAML Media Type",

	"XEP-0004": "Data Forms",
	"XEP-0030": "Service Discovery",
	"XEP-0045": "Multi-User Chat",
	"XEP-0050": "Ad-Hoc Commands",
	"XEP-0066": "Out of Band Data",
	"XEP-0071": "XHTML-IM",
	"XEP-0082": "XMPP Date and Time Profiles",
	"XEP-0092": "Software Version",
	"XEP-0106": "JID Escaping",
	"XEP-0114": "Jabber Component Protocol",
	"XEP-0128": "Service Discovery Extensions",
	"XEP-0199": "XMPP Ping",
	"XEP-0203": "Delayed Delivery",
	"XEP-0280": "Message Carbons",
	"XEP-0297": "Stanza Forwarding",
	"XEP-0308": "Last Message Correction",
	"XEP-0334": "Message Processing Hints",
	"XEP-0356": "Privileged Entity",
	"XEP-0359": "Unique and Stable Stanza IDs",
	"XEP-0363": "HTTP File Upload",
	"XEP-0368": "SRV records for XMPP over TLS",
	"XEP-0393": "Message Styling",
	"XEP-0440": "SASL Channel-Binding Type Capability",
}

// A citation is what the comments of one document name, with the packages they stand in.
type citation struct {
	document           string
	sections, packages []string
}

var (
	// cited is a document, with the sections that follow: RFC 6120 §4.9.3.20, §8.3 and
	// §8.4, or RFC 6120 (§4 streams, §8 stanzas).
	cited   = regexp.MustCompile(`(RFC \d{3,5}|XEP-\d{4})((?:(?:,? version [\d.]+)?(?:,| and| or| to)?\s?\(?§[\d.]*\d(?: [a-z]+)?)*)`)
	section = regexp.MustCompile(`§([\d.]*\d)`)
)

// citations reads the comments of all packages that are built into posthorn.
func citations(t *testing.T) []citation {
	t.Helper()
	found := make(map[string]*citation)
	root := os.DirFS("../..")
	err := fs.WalkDir(root, ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && file != "." || d.Name() == "testdata" || d.Name() == "xmpptest"):
			return fs.SkipDir
		case !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		return cite(root, file, found)
	})
	if err != nil {
		t.Fatal(err)
	}
	list := make([]citation, 0, len(found))
	for _, name := range slices.Sorted(maps.Keys(found)) {
		c := found[name]
		slices.SortFunc(c.sections, compareSections)
		slices.Sort(c.packages)
		list = append(list, citation{name, slices.Compact(c.sections), slices.Compact(c.packages)})
	}
	return list
}

// cite adds what the comments of a file cite.
func cite(root fs.FS, file string, found map[string]*citation) error {
	text, err := fs.ReadFile(root, file)
	if err != nil {
		return err
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, group := range parsed.Comments {
		for _, m := range cited.FindAllStringSubmatch(strings.Join(strings.Fields(group.Text()), " "), -1) {
			c := found[m[1]]
			if c == nil {
				c = &citation{document: m[1]}
				found[m[1]] = c
			}
			c.packages = append(c.packages, path.Dir(file))
			for _, s := range section.FindAllStringSubmatch(m[2], -1) {
				c.sections = append(c.sections, s[1])
			}
		}
	}
	return nil
}

func compareSections(a, b string) int {
	numbers := func(s string) (list []int) {
		for part := range strings.SplitSeq(s, ".") {
			n, _ := strconv.Atoi(part)
			list = append(list, n)
		}
		return list
	}
	return slices.Compare(numbers(a), numbers(b))
}

// row is the citation's line in the table.
func (c citation) row() string {
	sections := "in general"
	if len(c.sections) > 0 {
		sections = "§" + strings.Join(c.sections, ", §")
	}
	return fmt.Sprintf("| [%s](%s) | %s | %s | %s |", c.document, address(c.document), titles[c.document], sections, strings.Join(c.packages, ", "))
}

func address(document string) string {
	if number, rfc := strings.CutPrefix(document, "RFC "); rfc {
		return "https://www.rfc-editor.org/rfc/rfc" + number
	}
	return "https://xmpp.org/extensions/" + strings.ToLower(document) + ".html"
}

const specificationsPage = `# Specifications

What posthorn implements, or minds, as far as it needs it: the documents and sections
that the comments of its code cite, beside what obeys them. A test writes this page
(` + "`go test ./cmd/posthorn -run TestSpecifications -update`" + `); what requests look like is in
[protocols.md](protocols.md).

| document | title | sections | packages |
|---|---|---|---|
`

// TestSpecifications: docs/specifications.md has what the code cites, and nothing else.
// With -update it is written.
func TestSpecifications(t *testing.T) {
	var page strings.Builder
	page.WriteString(specificationsPage)
	for _, c := range citations(t) {
		if titles[c.document] == "" {
			t.Errorf("%s, which %s cites, has no title in titles", c.document, strings.Join(c.packages, ", "))
		}
		page.WriteString(c.row() + "\n")
	}
	const file = "../../docs/specifications.md"
	if *update {
		if err := os.WriteFile(file, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if diff := cmp.Diff(page.String(), string(got)); diff != "" {
		t.Errorf("%v (-want +got; -update writes it):\n%s", err, diff)
	}
}
