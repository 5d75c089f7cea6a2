package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
	"posthorn/internal/token"
)

// goneAfter is how long a token is known once it has expired, so that its owner can
// see why it is refused.
const goneAfter = 30 * 24 * time.Hour

// AddToken keeps a token. The error is a *fault.Error: Conflict where its owner has
// one of that name, Unsendable where they have too many.
func (s *Store) AddToken(ctx context.Context, t token.Token) error {
	var refused error
	err := s.commitOnce(ctx, func(c *connection) (err error) {
		if refused, err = c.mayAdd(&t); refused != nil || err != nil {
			return err
		}
		added, err := c.insertToken(&t)
		if err == nil && !added { // another instance was faster
			refused = sameName(&t)
		}
		return err
	})
	return errors.Join(err, refused)
}

func sameName(t *token.Token) error {
	return fault.New(fault.Conflict, "you have a token of the name %s: revoke it, or take another name", t.Name)
}

// insertToken reports whether its owner had none of that name.
func (c *connection) insertToken(t *token.Token) (added bool, err error) {
	limits, err := json.Marshal(t.Limits)
	if err != nil {
		return false, err
	}
	used := int64(0)
	if !t.Used.IsZero() {
		used = t.Used.Unix()
	}
	n, err := c.exec(`INSERT INTO tokens (hash, owner, name, created, expires, used, signing, limits) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (owner, name) DO NOTHING`,
		t.Hash, string(t.Owner), t.Name, t.Created.Unix(), t.Expires.Unix(), used, t.Signing.Reveal(), limits)
	return n > 0, err
}

// mayAdd makes place for t, or says why there is none.
func (c *connection) mayAdd(t *token.Token) (refused, err error) {
	if _, err := c.exec(`DELETE FROM tokens WHERE expires < $1`, t.Created.Add(-goneAfter).Unix()); err != nil {
		return nil, err
	}
	same, err := c.number(`SELECT count(*) FROM tokens WHERE owner = $1 AND name = $2`, string(t.Owner), t.Name)
	if err != nil {
		return nil, err
	}
	all, err := c.number(`SELECT count(*) FROM tokens WHERE owner = $1`, string(t.Owner))
	switch {
	case err != nil:
		return nil, err
	case same > 0:
		return sameName(t), nil
	case all >= token.MaxPerOwner:
		return fault.New(fault.Unsendable, "you have %d tokens: revoke one that you do not need", all), nil
	}
	return nil, nil
}

// FindToken gives the token of a hash, or nil.
func (s *Store) FindToken(ctx context.Context, hash string) (*token.Token, error) {
	found, err := s.selectTokens(ctx, ` WHERE hash = $1`, hash)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

// Tokens gives those of an owner, or of all where that is empty, by their names.
func (s *Store) Tokens(ctx context.Context, owner message.JID) ([]token.Token, error) {
	if owner == "" {
		return s.selectTokens(ctx, ` ORDER BY owner, name`)
	}
	return s.selectTokens(ctx, ` WHERE owner = $1 ORDER BY name`, string(owner))
}

func (s *Store) selectTokens(ctx context.Context, rest string, args ...any) (tokens []token.Token, err error) {
	err = s.read(ctx, func(ctx context.Context, readers *sql.DB) error {
		rows, err := readers.QueryContext(ctx, `SELECT hash, owner, name, created, expires, used, signing, limits FROM tokens`+rest, args...) // #nosec G202 -- of texts that stand above
		if err != nil {
			return err
		}
		tokens, err = scanTokens(rows)
		return err
	})
	return tokens, err
}

func scanTokens(rows *sql.Rows) (tokens []token.Token, err error) {
	defer rows.Close()
	for rows.Next() {
		var t token.Token
		var created, expires, used int64
		var signing string
		var limits []byte
		if err := rows.Scan(&t.Hash, &t.Owner, &t.Name, &created, &expires, &used, &signing, &limits); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(limits, &t.Limits); err != nil {
			return nil, err
		}
		t.Created, t.Expires, t.Signing = time.Unix(created, 0), time.Unix(expires, 0), secret.New(signing)
		if used != 0 {
			t.Used = time.Unix(used, 0)
		}
		tokens = append(tokens, t)
	}
	return tokens, rows.Err()
}

// RevokeToken removes an owner's token of that name, if there is one.
func (s *Store) RevokeToken(ctx context.Context, owner message.JID, name string) (found bool, err error) {
	n, err := s.deleteTokens(ctx, `DELETE FROM tokens WHERE owner = $1 AND name = $2`, string(owner), name)
	return n > 0, err
}

// RevokeTokens removes all of an owner's. It gives how many there were.
func (s *Store) RevokeTokens(ctx context.Context, owner message.JID) (n int, err error) {
	return s.deleteTokens(ctx, `DELETE FROM tokens WHERE owner = $1`, string(owner))
}

func (s *Store) deleteTokens(ctx context.Context, statement string, args ...any) (n int, err error) {
	err = s.commitOnce(ctx, func(c *connection) error {
		removed, err := c.exec(statement, args...)
		n = int(removed)
		return err
	})
	return n, err
}

// UseToken notes when a token was used.
func (s *Store) UseToken(ctx context.Context, hash string, at time.Time) error {
	return s.commitOnce(ctx, func(c *connection) error {
		_, err := c.exec(`UPDATE tokens SET used = $2 WHERE hash = $1`, hash, at.Unix())
		return err
	})
}
