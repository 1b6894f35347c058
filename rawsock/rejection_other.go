//go:build !linux

package rawsock

// KeepErrors is not available on this system.
func (*Socket) KeepErrors() error { return errPlatform }

// Rejection is not available on this system.
func (*Socket) Rejection() (Rejection, bool) { return Rejection{}, false }
