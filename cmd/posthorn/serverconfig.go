package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"text/template"
)

// The lines for the servers. deploy/ holds what they come to for the smallest
// configuration.
var (
	//go:embed prosody.cfg.lua.tmpl
	prosodyLines string
	//go:embed ejabberd.yml.tmpl
	ejabberdLines string
)

// serverConfig prints the lines that the server's configuration needs.
func serverConfig(_ context.Context, p *program) int {
	lines, known := map[string]string{"prosody": prosodyLines, "ejabberd": ejabberdLines}[strings.Join(p.args, " ")]
	if !known {
		return usageError(p.stderr, "server-config needs one of prosody, ejabberd")
	}
	if err := writeLines(p.stdout, lines, &p.config); err != nil {
		fmt.Fprintln(p.stderr, "posthorn: server-config:", err)
		return exitFailed
	}
	return exitOK
}

func writeLines(w io.Writer, lines string, c *config) error {
	host, port, err := net.SplitHostPort(c.Component.Address)
	if err != nil {
		return err
	}
	ip := net.ParseIP(host)
	local := host == "localhost" || ip != nil && ip.IsLoopback()
	if host == "localhost" {
		host = "127.0.0.1"
	} else if ip == nil {
		host = "::" // a name: which address it has on the server is not known here
	}
	t, err := template.New("").Funcs(template.FuncMap{"lua": quoteLua, "yaml": quoteYAML}).Parse(lines)
	if err != nil {
		return err
	}
	return t.Execute(w, map[string]any{
		"Domain": c.Component.Domain, "Secret": c.Component.Secret.Reveal(), "Hosts": c.domains(),
		"Privilege": c.Component.Mode == "privilege", "IP": host, "Port": port, "FromHere": local,
		"ElsePort": port != "5347", "Uploads": "upload." + c.domains()[0],
	})
}

// quoteLua writes s as a Lua string (Lua 5.4 reference manual §3.1).
func quoteLua(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\x00", `\0`).Replace(s) + `"`
}

// quoteYAML writes s as a YAML string: every JSON string is one.
func quoteYAML(s string) (string, error) {
	quoted, err := json.Marshal(s)
	return string(quoted), err
}
