//go:build !linux

package rawsock

import "context"

// Launchpad is a thread prepared to connect at an instant. On this system none
// can be made.
type Launchpad struct{}

// NewLaunchpad returns a Launchpad that cannot launch.
func NewLaunchpad(LaunchConfig) *Launchpad { return &Launchpad{} }

// Privileges is not available on this system.
func (*Launchpad) Privileges() Privileges { return Privileges{} }

// Launch always fails with errors.ErrUnsupported.
func (*Launchpad) Launch(context.Context, int64, []Shot) ([]Fired, error) { return nil, errPlatform }

// Glance sees nothing.
func (*Launchpad) Glance() int64 { return 0 }

// Close does nothing.
func (*Launchpad) Close() error { return nil }

// Launch always fails with errors.ErrUnsupported.
func Launch(context.Context, int64, []Shot) (Launched, error) { return Launched{}, errPlatform }
