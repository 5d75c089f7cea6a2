package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"posthorn/httpapi"
	"posthorn/internal/store"
	"posthorn/internal/token"
)

// tokensEndSoon is when a token's end is warned of.
const tokensEndSoon = 7 * 24 * time.Hour

// checkStore looks at the database as it is, since the service may be somebody
// else, who could not open what is made here. It gives who may have the component's
// stream, as far as the database tells; "": nobody.
func checkStore(ctx context.Context, r *report, c *config, all running) (holder string) {
	if !c.keeps() {
		r.ok("store", "off: nothing is kept while the server is away")
		return ""
	}
	if c.shares() {
		return checkPostgres(ctx, r, c, all)
	}
	if address := all.failing(); address != "" {
		r.fail("store", cannotWrite(c, address), "its log says why (messages cannot be kept); most often the disk is full, or a file belongs to another user")
		return c.holder()
	}
	s, err := c.openBeside(ctx)
	switch {
	case errors.Is(err, fs.ErrPermission):
		r.ok("store", "%s: cannot be looked at by you; healthz of the running service tells how it is", c.storePath)
	case errors.Is(err, fs.ErrNotExist):
		r.ok("store", "%s: will be made when the service starts", c.storePath)
	case err != nil:
		r.fail("store", err, "move the file away if nothing in it is missed, or set store to another; posthorn's user has to own it and its directory")
	default:
		defer start(s.Run)()
		reportStore(r, c, all)
		checkTokens(ctx, r, c, s)
	}
	return c.holder()
}

func cannotWrite(c *config, address string) error {
	return fmt.Errorf("the posthorn that listens on %s cannot write %s", address, c.storeName())
}

// holder is the process that has the database's directory.
func (d database) holder() string {
	if pid := store.Holder(d.storePath); d.storePath != "" && pid != 0 {
		return fmt.Sprintf("process %d", pid)
	}
	return ""
}

// reportStore says the worst that can be said of a database that can be read.
func reportStore(r *report, c *config, all running) {
	holder := c.holder()
	text := c.storePath
	if holder != "" {
		text += ", in use by " + holder
	}
	free, known := freeBytes(c.storePath)
	if known {
		text += fmt.Sprintf(", %s free", inBytes(free))
	}
	stranger := foreignFile(c.storePath)
	switch {
	case unix.Access(filepath.Dir(c.storePath), unix.W_OK) == unix.EROFS:
		r.fail("store", fmt.Errorf("%s: lies on a file system that is read-only", text), "mount it so that it can be written, or set store to a file elsewhere")
	case stranger != "":
		r.warn("store", "give it to the user that posthorn runs as: chown "+stranger, "%s: %s belongs to another user than what lies beside it", text, stranger)
	case holder != "" && len(all) == 0:
		r.warn("store", "if that is another posthorn, stop it, or give each a store of its own: a second one does not start", "%s, which does not answer on http.listen", text)
	case known && free+sizeOf(c.storePath) < int64(c.Delivery.MaxKept):
		r.warn("store", "make room, or lower delivery.max_kept", "%s, which is less than delivery.max_kept may need", text)
	default:
		r.ok("store", "%s", text)
	}
}

// freeBytes is the room for those who are not root.
func freeBytes(path string) (n int64, known bool) {
	var fs unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &fs); err != nil {
		return 0, false
	}
	return int64(fs.Bavail) * int64(fs.Bsize), true // #nosec G115 -- no disk is larger
}

func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// foreignFile gives a file of the database that belongs to another user than its
// directory, as after a start as root; "" where there is none. In a directory of root's
// the database's owner counts.
func foreignFile(path string) string {
	owner, _ := ownerOf(filepath.Dir(path))
	if owner == 0 {
		owner, _ = ownerOf(path)
	}
	for _, file := range []string{path, path + "-wal", path + "-shm"} {
		if is, known := ownerOf(file); known && is != owner {
			return file
		}
	}
	return ""
}

func ownerOf(path string) (uid uint32, known bool) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	stat, known := info.Sys().(*syscall.Stat_t)
	if !known {
		return 0, false
	}
	return stat.Uid, true
}

// checkTokens tells of tokens that end soon, and of those that the configuration refuses.
func checkTokens(ctx context.Context, r *report, c *config, s *store.Store) {
	tokens, err := s.Tokens(ctx, "")
	if err != nil {
		r.fail("tokens", err, "see what is said of the store")
		return
	}
	rules, valid, warned := c.rules(), 0, false
	for _, t := range tokens {
		if !t.Valid(time.Now()) {
			continue
		}
		valid++
		name := fmt.Sprintf("%s of %s", t.Name, t.Owner)
		if problem, hint := tokenProblem(c, rules, &t); problem != "" {
			warned = true
			r.warn("tokens", hint, "%s %s", name, problem)
		}
	}
	if !warned {
		r.ok("tokens", "%d can be used; none ends within %d days", valid, tokensEndSoon/(24*time.Hour))
	}
}

func tokenProblem(c *config, rules *httpapi.Handler, t *token.Token) (problem, hint string) {
	if !c.hasHost(t.Owner.Domain()) || rules.MaySend(t.Owner) != nil {
		return "is refused: its owner may not send", "put them into policy.senders and auth.hosts, or revoke it: posthorn token revoke"
	}
	if time.Until(t.Expires) < tokensEndSoon {
		return "ends on " + t.Expires.UTC().Format(time.DateTime), "make another one for what uses it, and revoke this one: posthorn token create"
	}
	return "", ""
}
