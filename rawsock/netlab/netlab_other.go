//go:build !linux

package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"time"
)

var errPlatform = fmt.Errorf("network namespaces need Linux: %w", errors.ErrUnsupported)

type keeper struct{}
type engine struct{ realTime bool }

func newNamespace(string) (*Namespace, error)                        { return nil, errPlatform }
func currentNamespace() (*Namespace, error)                          { return nil, errPlatform }
func (n *Namespace) close() error                                    { return errPlatform }
func (n *Namespace) do(func() error) error                           { return errPlatform }
func (n *Namespace) start(*exec.Cmd) error                           { return errPlatform }
func (n *Namespace) sysctl(string, string) error                     { return errPlatform }
func (n *Namespace) addAddress(string, netip.Prefix) error           { return errPlatform }
func (n *Namespace) addRoute(netip.Prefix, netip.Addr, string) error { return errPlatform }
func veth(*Namespace, string, *Namespace, string) error              { return errPlatform }
func bridge(*Namespace, string, []string) error                      { return errPlatform }
func (c *Core) openDevice(*port) (device, error)                     { return nil, errPlatform }
func startEngine(*Core) (*engine, error)                             { return nil, errPlatform }
func (e *engine) stop() error                                        { return errPlatform }
func (e *engine) cpuTime() (time.Duration, error)                    { return 0, errPlatform }
