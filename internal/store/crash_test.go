package store

func putUntilKilled(path string) {}
