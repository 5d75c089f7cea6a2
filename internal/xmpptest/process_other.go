//go:build !linux

package xmpptest

import "syscall"

func bindToParent(a *syscall.SysProcAttr) { a.Setpgid = true }
