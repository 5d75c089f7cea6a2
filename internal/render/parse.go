package render

import (
	"errors"
	"fmt"
	"strings"
	"text/template"
	"text/template/parse"
)

// parseTemplate reads the texts of a template, one after the other: what a later one
// defines takes the place of what an earlier one has of the same name.
func parseTemplate(name string, texts ...string) (*template.Template, error) {
	t := template.New(name).Option("missingkey=error").Funcs(functions(new(run)))
	for _, text := range texts {
		if _, err := t.Parse(text); err != nil {
			return nil, errors.New(strings.TrimPrefix(err.Error(), "template: "))
		}
	}
	c := calls{set: t, state: make(map[string]visit)}
	for _, block := range t.Templates() {
		if err := c.check(block.Name()); err != nil {
			return nil, err
		}
	}
	for _, block := range t.Templates() {
		count(block.Root)
	}
	return t, nil
}

// calls checks which blocks call which. None may call itself, by way of others
// perhaps: so the depth of calls is bounded by the number of blocks.
type calls struct {
	set   *template.Template
	state map[string]visit
}

type visit int

const (
	unseen visit = iota
	underway
	checked
)

func (c *calls) check(name string) (err error) {
	if c.state[name] == checked {
		return nil
	}
	c.state[name] = underway
	lists(c.set.Lookup(name).Root, func(list *parse.ListNode) {
		for _, node := range list.Nodes {
			if call, is := node.(*parse.TemplateNode); is && err == nil {
				err = c.call(name, call)
			}
		}
	})
	c.state[name] = checked
	return err
}

func (c *calls) call(from string, call *parse.TemplateNode) error {
	switch {
	case c.set.Lookup(call.Name) == nil:
		return fmt.Errorf("%s:%d: there is no block %q", c.set.Name(), call.Line, call.Name)
	case c.state[call.Name] == underway:
		return fmt.Errorf("%s:%d: the block %q comes to call itself here, which is not allowed", c.set.Name(), call.Line, call.Name)
	}
	return c.check(call.Name)
}

// count lets each action, each run of a block and each turn of a loop call the function
// tick first, which ends what takes too long.
func count(root *parse.ListNode) {
	lists(root, func(list *parse.ListNode) {
		nodes := []parse.Node{newTick()}
		for _, node := range list.Nodes {
			if node.Type() != parse.NodeText {
				nodes = append(nodes, newTick())
			}
			nodes = append(nodes, node)
		}
		list.Nodes = nodes
	})
}

func newTick() parse.Node { return ticking.CopyList().Nodes[0] }

// ticking is the text {{tick}}, parsed. Never written to.
var ticking = template.Must(template.New("").Funcs(template.FuncMap{"tick": func() string { return "" }}).Parse("{{tick}}")).Root

// lists calls do for list and every list below it.
func lists(list *parse.ListNode, do func(*parse.ListNode)) {
	if list == nil {
		return
	}
	do(list)
	for _, node := range list.Nodes {
		switch node := node.(type) {
		case *parse.IfNode:
			lists(node.List, do)
			lists(node.ElseList, do)
		case *parse.WithNode:
			lists(node.List, do)
			lists(node.ElseList, do)
		case *parse.RangeNode:
			lists(node.List, do)
			lists(node.ElseList, do)
		}
	}
}
