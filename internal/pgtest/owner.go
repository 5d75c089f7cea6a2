package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// An owner is who the server runs as. The zero one is who runs this program.
type owner struct{ credential *syscall.Credential }

// findOwner is postgres for root, and otherwise whoever asks.
func findOwner() (owner, error) {
	if os.Getuid() != 0 {
		return owner{}, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return owner{}, fmt.Errorf("pgtest: PostgreSQL does not run as root: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	return owner{&syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, errors.Join(err1, err2)
}

// take gives files to the owner.
func (o owner) take(names ...string) error {
	if o.credential == nil {
		return nil
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, os.Chown(name, int(o.credential.Uid), int(o.credential.Gid)))
	}
	return errors.Join(errs...)
}

func (o owner) attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: o.credential}
}
