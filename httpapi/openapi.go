package httpapi

import (
	"bytes"
	"cmp"
	_ "embed"
	"html/template"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// The document, which describes every path that there is by default; and what makes a
// page of it.
var (
	//go:embed api/openapi.yaml
	openAPI []byte
	//go:embed api/docs.html.tmpl
	docsTemplate string
)

// newDocs makes the document, with the path that messages have here, and, when somebody
// asks for the first time, the page of it.
func newDocs(base string) (openapi *asset, docs func() *asset) {
	own := bytes.ReplaceAll(openAPI, []byte("\n  /msg/{to}:"), []byte("\n  "+base+"/{to}:"))
	return stored("application/yaml", own), sync.OnceValue(func() *asset { // RFC 9512
		var page bytes.Buffer
		var doc document
		// Both are our own files, which a test reads.
		_ = yaml.Unmarshal(own, &doc)
		_ = template.Must(template.New("docs").Funcs(docsFunctions).Parse(docsTemplate)).Execute(&page, &doc)
		return stored("text/html; charset=utf-8", page.Bytes())
	})
}

// docsFunctions take apart a text with code between backticks. Never written to.
var docsFunctions = template.FuncMap{
	"split": func(text string) []string { return strings.Split(text, "`") },
	"odd":   func(i int) bool { return i%2 == 1 },
}

// A document is what the page shows of openapi.yaml.
type document struct {
	Info       info
	Tags       []group
	Paths      yaml.Node // a mapping whose order is that of the page
	Components struct {
		Parameters map[string]parameter
		Responses  map[string]response
		Schemas    yaml.Node
	}
}

type info struct{ Title, Summary, Description string }

func (i info) Paragraphs() []paragraph { return paragraphs(i.Description) }

type group struct {
	Name, Description string
	Operations        []operation `yaml:"-"`
}

type operation struct {
	Method, Path         string `yaml:"-"`
	ID                   string `yaml:"operationId"`
	Summary, Description string
	Tags                 []string
	Parameters           []parameter
	RequestBody          struct{ Content content } `yaml:"requestBody"`
	Answers              yaml.Node                 `yaml:"responses"`
	Responses            []response                `yaml:"-"`
}

type parameter struct {
	Ref                   string `yaml:"$ref"`
	Name, In, Description string
	Schema                schema
}

type response struct {
	Status      string `yaml:"-"`
	Ref         string `yaml:"$ref"`
	Description string
	Content     content
}

type content map[string]struct{ Schema schema }

// A body is one type of content.
type body struct {
	Type   string
	Schema schema
}

type schema struct {
	Name        string    `yaml:"-"`
	Required    bool      `yaml:"-"`
	Ref         string    `yaml:"$ref"`
	Type        yaml.Node // a word, or a list of them
	Enum        []string
	Const       string
	Description string
	Items       *schema
	OneOf       []schema `yaml:"oneOf"`
	Needed      []string `yaml:"required"`
	Properties  yaml.Node
}

// members calls do for each member of a mapping, in its order.
func members(node *yaml.Node, do func(name string, value *yaml.Node)) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		do(node.Content[i].Value, node.Content[i+1])
	}
}

// Groups gives the operations under their tags.
func (d *document) Groups() []group {
	members(&d.Paths, func(path string, item *yaml.Node) {
		var shared struct{ Parameters []parameter }
		_ = item.Decode(&shared)
		members(item, func(method string, node *yaml.Node) {
			var o operation
			if node.Decode(&o) != nil || o.ID == "" {
				return
			}
			o.Method, o.Path = strings.ToUpper(method), path
			o.Parameters = d.resolved(append(shared.Parameters, o.Parameters...))
			members(&o.Answers, func(status string, answer *yaml.Node) { o.Responses = append(o.Responses, d.response(status, answer)) })
			i := slices.IndexFunc(d.Tags, func(g group) bool { return slices.Contains(o.Tags, g.Name) })
			d.Tags[i].Operations = append(d.Tags[i].Operations, o)
		})
	})
	return d.Tags
}

func (d *document) resolved(parameters []parameter) []parameter {
	all := make([]parameter, len(parameters))
	for i, p := range parameters {
		all[i] = p
		if p.Ref != "" {
			all[i] = d.Components.Parameters[lastOf(p.Ref)]
		}
	}
	return all
}

func (d *document) response(status string, node *yaml.Node) (r response) {
	_ = node.Decode(&r)
	if r.Ref != "" {
		r = d.Components.Responses[lastOf(r.Ref)]
	}
	r.Status = status
	return r
}

// Schemas gives them in the document's order.
func (d *document) Schemas() (all []schema) {
	members(&d.Components.Schemas, func(name string, node *yaml.Node) {
		var s schema
		_ = node.Decode(&s)
		s.Name = name
		all = append(all, s)
	})
	return all
}

func (r response) Bodies() []body { return r.Content.bodies() }

func (o operation) Bodies() []body { return o.RequestBody.Content.bodies() }

// bodies gives the types, sorted.
func (c content) bodies() (all []body) {
	for name, media := range c {
		all = append(all, body{name, media.Schema})
	}
	slices.SortFunc(all, func(a, b body) int { return cmp.Compare(a.Type, b.Type) })
	return all
}

// Members gives those of an object.
func (s schema) Members() (all []schema) {
	members(&s.Properties, func(name string, node *yaml.Node) {
		var m schema
		_ = node.Decode(&m)
		m.Name, m.Required = name, slices.Contains(s.Needed, name)
		all = append(all, m)
	})
	return all
}

func (s schema) Values() []string { return s.Enum }

// Link names the schema that this one stands for; "": none.
func (s schema) Link() string { return lastOf(s.Ref) }

// String says what values fit, in a few words.
func (s schema) String() string {
	var words []string
	switch {
	case s.Ref != "":
		return s.Link()
	case s.Const != "":
		return s.Const
	case len(s.Enum) > 0:
		return strings.Join(s.Enum, ", ")
	case s.Items != nil:
		return "array of " + s.Items.String()
	case len(s.OneOf) > 0:
		for _, one := range s.OneOf {
			words = append(words, one.String())
		}
	case s.Type.Kind == yaml.ScalarNode:
		return s.Type.Value
	default:
		_ = s.Type.Decode(&words)
	}
	if words == nil {
		return "anything"
	}
	return strings.Join(words, " or ")
}

func lastOf(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

// A paragraph is one of a description; indented, it is code.
type paragraph struct {
	Text string
	Code bool
}

func paragraphs(text string) (all []paragraph) {
	for p := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if p = strings.Trim(p, "\n"); p != "" {
			all = append(all, paragraph{strings.TrimSpace(p), strings.HasPrefix(p, "    ")})
		}
	}
	return all
}

// Own reports whether the operation is not another one's, by another method.
func (o operation) Own() bool { return o.Method != "HEAD" && o.Description != "As by POST." }

func (o operation) Paragraphs() []paragraph { return paragraphs(o.Description) }
