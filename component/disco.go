package component

import (
	"posthorn/internal/stream"
)

// appendDisco writes what we are and have (XEP-0030 §3 and §4). Commands are for the
// accounts of our hosts, and others are not told about them (XEP-0050 §2.2).
func appendDisco(dst []byte, iq, query *stream.Element, opts *Options) []byte {
	node, info := query.Attr("node"), query.Name.Space == nsDiscoInfo
	command := (&desk{commands: opts.Commands}).find(node)
	switch _, known := opts.account(iq.Attr("from")); {
	case node != "" && command == nil && (node != nsCommands || len(opts.Commands) == 0):
		return appendErrorReply(dst, iq, "item-not-found")
	case node != "" && !known:
		return appendError(dst, iq, &stanzaError{kind: "auth", condition: "forbidden"})
	}
	dst = append(appendReply(dst, iq, "result"), "<query"...)
	dst = appendAttr(dst, "xmlns", query.Name.Space)
	dst = appendOptionalAttr(dst, "node", node)
	dst = append(dst, '>')
	switch {
	case info && node == "":
		dst = appendIdentity(dst, "component", "generic", "posthorn")
		dst = appendFeatures(dst, nsDiscoInfo, nsVersion, nsPing)
		if len(opts.Commands) > 0 {
			dst = appendFeatures(dst, nsDiscoItems, nsCommands)
		}
	case info && command == nil:
		dst = appendIdentity(dst, "automation", "command-list", "Commands")
	case info: // XEP-0050 §2.2
		dst = appendIdentity(dst, "automation", "command-node", command.Name)
		dst = appendFeatures(dst, nsCommands, nsForms)
	case node == nsCommands:
		dst = appendItems(dst, opts)
	}
	return append(dst, "</query></iq>"...)
}

func appendIdentity(dst []byte, category, kind, name string) []byte {
	dst = append(dst, "<identity"...)
	dst = appendAttr(dst, "category", category)
	dst = appendAttr(dst, "type", kind)
	dst = appendAttr(dst, "name", name)
	return append(dst, "/>"...)
}

func appendFeatures(dst []byte, features ...string) []byte {
	for _, feature := range features {
		dst = append(dst, "<feature"...)
		dst = appendAttr(dst, "var", feature)
		dst = append(dst, "/>"...)
	}
	return dst
}

// appendItems lists the commands.
func appendItems(dst []byte, opts *Options) []byte {
	for _, c := range opts.Commands {
		dst = append(dst, "<item"...)
		dst = appendAttr(dst, "jid", opts.Domain)
		dst = appendAttr(dst, "node", c.Node)
		dst = appendAttr(dst, "name", c.Name)
		dst = append(dst, "/>"...)
	}
	return dst
}
