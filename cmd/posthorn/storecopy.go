package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"posthorn/internal/store"
)

// #nosec G101 -- a help text
const storeUsage = `usage: posthorn store copy FROM TO

Copies what is kept, and the tokens, to a database that has nothing. Stop every
posthorn that uses either. FROM and TO are written as the key store is: sqlite,
sqlite:/path/to/file, or postgres://user@host/database.

Others on the machine can see a password in a command. Leave it out of the URL, and
give it as PGPASSWORD, or in ~/.pgpass or the file that PGPASSFILE names.
`

// manageStore copies one database to another.
func manageStore(ctx context.Context, p *program) int {
	if len(p.args) != 3 || p.args[0] != "copy" {
		fmt.Fprint(p.stderr, storeUsage)
		return exitUsage
	}
	var both [2]database
	for i, name := range []string{"FROM", "TO"} {
		var err error
		if both[i], err = readStore(p.args[1+i], os.Getenv); err == nil && !both[i].keeps() {
			err = errors.New("is empty: name a database")
		}
		if err != nil {
			return usageError(p.stderr, fmt.Sprintf("store copy: %s %v", name, err))
		}
	}
	n, err := copyStore(ctx, both[0], both[1])
	if err != nil {
		fmt.Fprintln(p.stderr, "posthorn: store copy:", err)
		return exitFailed
	}
	fmt.Fprintf(p.stdout, "%d messages, %d tokens and %d ids that updates need were copied\n", n.Messages, n.Tokens, n.Originals)
	return exitOK
}

func copyStore(ctx context.Context, from, to database) (n store.Counts, err error) {
	if from.storePath != "" { // opening would make it
		if _, err := os.Stat(from.storePath); err != nil {
			return n, err
		}
	}
	source, stop, err := from.openAlone(ctx)
	defer stop()
	if err != nil {
		return n, err
	}
	target, stop, err := to.openAlone(ctx)
	defer stop()
	if err != nil {
		return n, err
	}
	return store.Copy(ctx, source, target)
}

// openAlone opens a database that no posthorn uses.
func (d database) openAlone(ctx context.Context) (s *store.Store, stop func(), err error) {
	s = store.New(d.storeOptions())
	err = s.Open(ctx)
	stop = start(s.Run)
	if err != nil || d.storePath != "" { // whose directory is locked now
		return s, stop, err
	}
	lease, err := s.ReadLease(ctx)
	if err == nil && lease.Left > 0 {
		err = fmt.Errorf("%s is in use by the posthorn %s: stop each that has it", d.storeName(), lease.Holder)
	}
	return s, stop, err
}
