package store

import (
	"context"
	"strings"
)

// warn says in the log where what was acknowledged could be lost.
func (p *pg) warn(c *connection) error {
	risks, err := c.risks()
	text := strings.Join(risks, "; ")
	if err == nil && text != "" && text != p.warned && p.opts.Log != nil {
		p.opts.Log.Warn("PostgreSQL may lose messages that were accepted", "reason", text)
	}
	p.warned = text
	return err
}

// risks says which settings let what was committed be lost.
func (c *connection) risks() ([]string, error) {
	rows, err := c.query(`SELECT name, setting FROM pg_settings WHERE name IN ('synchronous_commit', 'fsync', 'full_page_writes', 'synchronous_standby_names')`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	is := make(map[string]string)
	for rows.Next() {
		var name, setting string
		if err := rows.Scan(&name, &setting); err != nil {
			return nil, err
		}
		is[name] = setting
	}
	return risksOf(is), rows.Err()
}

func risksOf(is map[string]string) (risks []string) {
	for _, name := range []string{"synchronous_commit", "fsync", "full_page_writes"} {
		if is[name] == "off" {
			risks = append(risks, name+" is off: a crash of its machine loses messages that were accepted; set it to on")
		}
	}
	if how := is["synchronous_commit"]; is["synchronous_standby_names"] != "" && (how == "local" || how == "remote_write") {
		risks = append(risks, "synchronous_commit is "+how+": a standby that takes over may lack messages that were accepted; set it to on")
	}
	return risks
}

// A Server is what serves the database.
type Server struct {
	Version string   // "PostgreSQL 15.8"; "": there is none
	Risks   []string // what may lose messages that were accepted, with what to do, a line each
}

// Server says what serves the database, and how safe what is kept there is.
func (s *Store) Server(ctx context.Context) (server Server, err error) {
	if s.others == nil {
		return server, nil
	}
	err = s.ask(ctx, pgLimit, writersOf, func(c *connection) error {
		rows, err := c.query(`SELECT version()`)
		if err != nil {
			return err
		}
		var long string
		if _, err := one(rows, &long); err != nil {
			return err
		}
		words := strings.Fields(long)
		server.Version = strings.Join(words[:min(2, len(words))], " ")
		server.Risks, err = c.risks()
		return err
	})
	return server, err
}
