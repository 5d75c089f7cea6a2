package xmpptest

import "syscall"

func bindToParent(a *syscall.SysProcAttr) { a.Setpgid, a.Pdeathsig = true, syscall.SIGKILL }
