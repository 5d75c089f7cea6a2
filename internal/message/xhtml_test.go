package message

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestSanitizeHTML(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"text", "disk full", "disk full"},
		{"text is escaped", "1 < 2 & 3 > 2", "1 &lt; 2 &amp; 3 &gt; 2"},
		{"profile", "<p>a<br>b</p><ul><li>c</li></ul>", "<p>a<br/>b</p><ul><li>c</li></ul>"},
		{"b and i", "<b>x</b><i>y</i>", "<strong>x</strong><em>y</em>"},
		{"others are unwrapped", "<u>a</u><custom-x>b</custom-x>", "ab"},
		{"lines", "a<div>b</div>c", "a<br/>b<br/>c"},
		{"headings", "<h1>a</h1><h2>b</h2><h6>c</h6>d", "a<br/>b<br/>c<br/>d"},
		{"heading before a paragraph", "<h1>a</h1><p>b</p><div>c</div>", "a<p>b</p>c"},
		{"lines in one another", "<div><div>a</div>b<div><p>c</p></div>d</div>e", "a<br/>b<p>c</p>d<br/>e"},
		{"lines of nothing", "<div></div><div>a<div> </div></div><hr><hr/><div>b</div><div></div>", "a <br/>b"},
		{"lines in an inline element", "<em><div>a</div><div>b</div></em>c", "<em>a<br/>b</em><br/>c"},
		{"inline elements on lines", "<div>a<b>b</b></div><div><i>c</i>d</div>", "a<strong>b</strong><br/><em>c</em>d"},
		{"lines in an item", "<ul><li><div>a</div><div>b</div><li>c</ul>d", "<ul><li>a<br/>b</li><li>c</li></ul>d"},
		{"line break before a line", "<div>a<br></div><div>b</div>", "a<br/>b"},
		{"pictures on lines", "<div><img src='http://a/'></div><div><img src='http://b/'></div>", `<img src="http://a/"/><br/><img src="http://b/"/>`},
		{"preformatted", "a<pre>b\n c</pre>d", "a<br/>b\n c<br/>d"},
		{"table", "<table><tr><th>a<th>b</tr><tr><td>c</td><td>d</td></tr></table>e", "a b<br/>c d<br/>e"},
		{"table that is indented", "<table>\n <tr>\n  <td>a</td>\n  <td>b</td>\n </tr>\n</table>c", "\n \n  a\n   b\n \n<br/>c"},
		{"table with a heading", "<div><h1>a</h1> <table><tr><td>b</table></div>", "a <br/>b"},
		{"paragraph closed by what is around it", "<em>a<p>b</em><div>c</div>", "<em>a<p>b</p></em>c"},
		{"script", "a<script>alert('<p>')</script>b<style>p{}</style>c", "abc"},
		{"head", "<html><head><title>t</title><meta x=y></head><body>b</body></html>", "b"},
		{"head left open", "<head><title>t</title><body>b", "b"},
		{"script left open", "a<script>alert(1)", "a"},
		{"comment and declaration", "<!DOCTYPE html><!-- x -->a<?php x ?>", "a"},
		{"misnested", "<b>x<i>y</b>z</i>", "<strong>x<em>y</em></strong>z"},
		{"left open", "<p>a<p>b<ul><li>c<li>d", "<p>a</p><p>b</p><ul><li>c</li><li>d</li></ul>"},
		{"list in list", "<ul><li>a<ol><li>b</ol></ul>", "<ul><li>a<ol><li>b</li></ol></li></ul>"},
		{"stray end", "a</p></b>b", "ab"},
		{"closed as XML", "<span/>a<p/>", "<span></span>a<p></p>"},
		{"upper case", `<P STYLE="COLOR:Red">a</P>`, `<p style="color: Red">a</p>`},
		{"link", `<a href="https://example.com/?a=1&amp;b=2" onclick="x()">a</a>`, `<a href="https://example.com/?a=1&amp;b=2">a</a>`},
		{"link in link", `<a href="http://a/">a<a href="http://b/">b`, `<a href="http://a/">a</a><a href="http://b/">b</a>`},
		{"xmpp link", `<a href="xmpp:a@b?join">a</a>`, `<a href="xmpp:a@b?join">a</a>`},
		{"script link", `<a href="javascript:x">a</a>`, `<a>a</a>`},
		{"hidden script link", `<a href=" jAva&#10;script:x">a</a>`, `<a>a</a>`},
		{"relative link", `<a href="/x">a</a>`, `<a>a</a>`},
		{"picture", `<img src=http://a/b.png alt='a "b"' width=10 height=50% onerror=x>`, `<img src="http://a/b.png" alt="a &quot;b&quot;" height="50%" width="10"/>`},
		{"picture from nowhere", `a<img alt=b>c<img src="data:image/png,x">`, "ac"},
		{"style", `<p style="color: #f00; position:fixed; background-color:url(x); font-family:'DejaVu Sans', serif">a</p>`, `<p style="color: #f00; font-family: 'DejaVu Sans', serif">a</p>`},
		{"style that hides", `<p style="color: expression(x); color: r\65 d; color:/**/red">a</p>`, "<p>a</p>"},
		{"attribute twice", `<a href="http://a/" href="javascript:x">a</a>`, `<a href="http://a/">a</a>`},
		{"line ends", "a\r\nb&#13;c", "a\nb\nc"},
		{"reference", "&auml;&nbsp;&#x1F600;", "ä\u00a0😀"},
		{"escaped markup stays text", "&lt;script&gt;", "&lt;script&gt;"},
		{"raw text element", "<xmp><p>a</p></xmp>", "&lt;p&gt;a&lt;/p&gt;"},
		{"depth at the bound", strings.Repeat("<em>", 64) + "a", strings.Repeat("<em>", 64) + "a" + strings.Repeat("</em>", 64)},
		{"nothing", "<!-- -->", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := SanitizeHTML(test.in)
			if err != nil || got != test.want {
				t.Fatalf("SanitizeHTML(%q)\n got %q, %v\nwant %q", test.in, got, err, test.want)
			}
		})
	}
}

func TestSanitizeHTMLRefuses(t *testing.T) {
	for _, test := range []struct{ name, in string }{
		{"too deep", strings.Repeat("<span>", 65)},
		{"much too deep", strings.Repeat("<em><div>", 20000)},
		{"control character", "a\x01b"},
		{"control character by reference", "a&#1;b"},
		{"noncharacter by reference", `<img src="http://a/" alt="&#xFFFE;">`},
		{"invalid UTF-8", "a\xffb"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, err := SanitizeHTML(test.in); err == nil {
				t.Fatalf("gave %q", got)
			}
		})
	}
}

// FuzzSanitizeHTML: what comes out is well-formed, has the profile's elements
// and attributes alone, and comes out of itself unchanged.
func FuzzSanitizeHTML(f *testing.F) {
	for _, seed := range []string{
		"<p style='color:red'>a<b>b</i></p>", "<ul><li>a<li>b</ul>", "<a href=http://x/?a&b>x<a>", "<img src='cid:x' alt=\"'\">",
		"<svg><style><img src=x>", "<title>&lt;", "a<", "</", "<script/>x", "<![CDATA[x]]>", "<plaintext><p>", "&#13;&#0;&amp", "<p/ style>",
		"<textarea><p>", "<a href='https:&#9;x'>", "\ufeff<br\x0c/>",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		out, err := SanitizeHTML(in)
		if err != nil {
			return
		}
		checkXHTML(t, out)
		if again, err := SanitizeHTML(out); err != nil || again != out {
			t.Fatalf("%q became %q, which became %q, %v", in, out, again, err)
		}
	})
}

func checkXHTML(t *testing.T, out string) {
	d := xml.NewDecoder(strings.NewReader("<body>" + out + "</body>"))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("%q is not XML: %v", out, err)
		}
		start, ok := token.(xml.StartElement)
		if !ok || start.Name.Local == "body" && d.InputOffset() == int64(len("<body>")) {
			continue
		}
		allowed, known := xhtmlAttributes[start.Name.Local]
		if !known || start.Name.Space != "" {
			t.Fatalf("%q has the element %v", out, start.Name)
		}
		for _, attr := range start.Attr {
			if attr.Name.Space != "" || !strings.Contains(" "+strings.Join(allowed, " ")+" ", " "+attr.Name.Local+" ") {
				t.Fatalf("%q has the attribute %v", out, attr.Name)
			}
		}
	}
}
