package store

// migrations make the tables, each from the state that the ones before it left.
// One that was published is never changed. INTEGER means 64 bits. PostgreSQL alone has a
// sequence, which numbers the messages of several instances, and room beside each row, so
// that a claim, which changes what no index has, makes a new one on the same page.
var migrations = []string{
	`CREATE TABLE messages (
		seq       INTEGER NOT NULL PRIMARY KEY,
		sender    TEXT    NOT NULL,
		recipient TEXT    NOT NULL,
		id        TEXT    NOT NULL,
		content   BLOB, -- NULL once the outcome is final
		state     TEXT    NOT NULL,
		attempts  INTEGER NOT NULL,
		code      TEXT    NOT NULL,
		detail    TEXT    NOT NULL,
		expires   INTEGER NOT NULL,
		wake      INTEGER NOT NULL,
		size      INTEGER NOT NULL,
		scope     TEXT    NOT NULL,
		digest    TEXT    NOT NULL
	);
	CREATE INDEX messages_id ON messages (id, sender);
	CREATE INDEX messages_line ON messages (sender, seq) WHERE state = 'queued';
	CREATE INDEX messages_unconfirmed ON messages (seq) WHERE state = 'unconfirmed';
	CREATE INDEX messages_open ON messages (seq) WHERE ` + open + `;
	CREATE INDEX messages_due ON messages (wake) WHERE ` + open + `;
	CREATE INDEX messages_done ON messages (wake, state) WHERE NOT ` + open + `;
	CREATE INDEX messages_scope ON messages (scope) WHERE scope <> ''`,

	`CREATE TABLE tokens (
		hash    TEXT    NOT NULL PRIMARY KEY,
		owner   TEXT    NOT NULL,
		name    TEXT    NOT NULL,
		created INTEGER NOT NULL,
		expires INTEGER NOT NULL,
		used    INTEGER NOT NULL, -- 0: never
		signing TEXT    NOT NULL,
		limits  BLOB    NOT NULL
	);
	CREATE UNIQUE INDEX tokens_name ON tokens (owner, name)`,

	`CREATE TABLE originals (
		sender    TEXT    NOT NULL,
		recipient TEXT    NOT NULL,
		about     TEXT    NOT NULL, -- a hash
		id        TEXT    NOT NULL,
		expires   INTEGER NOT NULL,
		PRIMARY KEY (sender, recipient, about)
	);
	CREATE INDEX originals_sender ON originals (sender, expires);
	CREATE INDEX originals_expires ON originals (expires)`,

	// Where two indexes would do, SQLite takes the one that was made last, and that of a
	// line has to stay the one without what is over.
	`CREATE INDEX messages_sender ON messages (sender, seq);
	DROP INDEX messages_line;
	CREATE INDEX messages_line ON messages (sender, seq) WHERE state = 'queued'`,

	// A request has one record of part 0, and so cannot be kept twice at once. Those from
	// before have none: they are found.
	`ALTER TABLE messages ADD COLUMN accepted INTEGER NOT NULL DEFAULT 0;
	UPDATE messages SET accepted = seq;
	ALTER TABLE messages ADD COLUMN part INTEGER NOT NULL DEFAULT 1;
	ALTER TABLE messages ADD COLUMN term INTEGER NOT NULL DEFAULT 0;
	ALTER TABLE messages ADD COLUMN waits INTEGER NOT NULL DEFAULT 0; -- 1: yes
	CREATE UNIQUE INDEX messages_request ON messages (scope) WHERE scope <> '' AND part = 0;
	CREATE SEQUENCE messages_seq;
	ALTER TABLE messages SET (fillfactor = 50);
	CREATE TABLE leases (
		name    TEXT    NOT NULL PRIMARY KEY,
		holder  TEXT    NOT NULL,
		term    INTEGER NOT NULL,
		expires INTEGER NOT NULL, -- nanoseconds since 1970, by the database's clock
		stream  TEXT    NOT NULL
	)`,
}

// open is the condition of records that are pending; stillOpen says the same of rows that
// are found by something else, in a way of which no index knows.
const (
	open      = `state IN ('queued', 'waiting', 'unconfirmed')`
	stillOpen = `state || '' IN ('queued', 'waiting', 'unconfirmed')`
)

// migrate brings the tables to the newest version.
func (c *connection) migrate() error {
	version, err := c.version()
	if c.engine.judge(err) == tableless {
		version, err = c.makeVersions()
	}
	for err == nil && int(version) < len(migrations) {
		version, err = c.step(version)
	}
	if err != nil {
		return err
	}
	return c.checkVersion()
}

// makeVersions makes the table of versions, unless another instance does so at the same
// moment.
func (c *connection) makeVersions() (version int64, err error) {
	failed := c.simply(c.engine.spell(`CREATE TABLE IF NOT EXISTS versions (version INTEGER NOT NULL PRIMARY KEY)`))
	if version, err = c.version(); err != nil && failed != nil {
		return 0, failed
	}
	return version, err
}

// step goes from a version to the next one, and gives the one that the tables are of
// then. Where another instance does the same, it waits for that one: both begin with the
// row that names the version.
func (c *connection) step(version int64) (int64, error) {
	err := c.transact(func() error {
		if _, err := c.exec(`INSERT INTO versions (version) VALUES ($1)`, version+1); err != nil {
			return err
		}
		return c.simply(c.engine.spell(migrations[version]))
	})
	if err == nil {
		return version + 1, nil
	}
	if now, _ := c.version(); now > version {
		return now, nil
	}
	return version, err
}

// version is how many of the migrations the tables have seen.
func (c *connection) version() (int64, error) {
	return c.number(`SELECT coalesce(max(version), 0) FROM versions`)
}

// checkVersion gives an error where the tables are not of the newest version.
func (c *connection) checkVersion() error {
	version, err := c.version()
	switch {
	case c.engine.judge(err) == tableless:
		return errOlder
	case err != nil:
		return err
	case int(version) > len(migrations):
		return errNewer
	case int(version) < len(migrations):
		return errOlder
	}
	return nil
}
