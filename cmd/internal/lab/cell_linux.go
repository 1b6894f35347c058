package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Addresses of the servers' sockets, as the nodes' command lines have them.
const (
	coordinatorPort = ":7770"
	stunPort        = ":3478"
	stunAlternate   = ":3479"
	timePort        = ":123"
)

// cell is a network with its servers, in which two clients meet as often as
// wanted, one meeting after another. Before each, the boxes forget all that
// they knew.
type cell struct {
	config  Config
	dir     string
	network *Network
	watch   *watcher
	servers nodes
	began   int // trials

	coordinator string // as the clients are told it
}

func linkOf(c Config) Link { return Link{Delay: c.Delay, Jitter: c.Jitter, Loss: c.Loss} }

// newCell builds the network and starts its servers.
func newCell(ctx context.Context, config Config, dir string) (*cell, error) {
	config.A, config.B = config.sides()
	c := &cell{config: config, dir: dir}
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// withCell builds a network with its servers, for as long as use takes. If files
// are kept, it is in a directory of this name.
func withCell(ctx context.Context, config Config, name string, use func(*cell) error) (err error) {
	dir, drop, err := config.directory(name)
	if err != nil {
		return err
	}
	defer drop()
	c, err := newCell(ctx, config, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	return use(c)
}

// directory is where files go, and what removes it if they are not kept.
func (c Config) directory(name string) (dir string, drop func(), err error) {
	if c.Keep == "" {
		dir, err = temporary()
		return dir, func() { os.RemoveAll(dir) }, err
	}
	dir = filepath.Join(c.Keep, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, fmt.Errorf("keep files: %w", err)
	}
	return dir, func() {}, nil
}

func (c *cell) open(ctx context.Context) (err error) {
	s := PlanNetwork(c.config.A, c.config.B, linkOf(c.config))
	s.NoSpin, s.Burst = c.config.roughly, c.config.burst
	c.watch, c.servers = newWatcher(edgesOf(s)), nodes{}
	if c.network, err = Build(s, c.watch.observe); err != nil {
		return closedOr(err)
	}
	if err := c.startServers(ctx); err != nil {
		return errors.Join(err, c.close())
	}
	return nil
}

func (c *cell) startServers(ctx context.Context) error {
	clock, _, err := c.network.serve(ctx, "time", "lab", "time-server", "--listen", timePort)
	if err != nil {
		return err
	}
	c.servers.add(clock)
	server, ready, err := c.network.serve(ctx, "coordinator", "coordinator",
		"--listen", coordinatorPort, "--stun", stunPort, "--stun-alternate", coordinatorAlt4.String()+stunAlternate,
		"--advertise", coordinator4.String(), "--advertise", coordinator6.String(),
		"--ntp", timeServer4.String(), "--ntp", "["+timeServer6.String()+"]", "--state", filepath.Join(c.dir, "coordinator"))
	if err != nil {
		return err
	}
	c.servers.add(server)
	c.coordinator = ready
	return nil
}

// coordinatorFor is the coordinator's address by the family that the two sides
// share, or else by the one that this side has.
func (c *cell) coordinatorFor(side Profile) string {
	v6 := useIPv6(c.config.A, c.config.B) || !side.IPv4
	id, hostport, ok := strings.Cut(c.coordinator, "@")
	if !ok {
		return c.coordinator
	}
	address, port := coordinator4, coordinatorPort
	if i := strings.LastIndex(hostport, ":"); i >= 0 {
		port = hostport[i:]
	}
	if v6 {
		address = coordinator6
	}
	return id + "@" + bracketed(address) + port
}

func bracketed(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// newTrial makes the network forget the meeting before, if there was one, and
// prepares for another. The first one's files lie in the cell's directory.
func (c *cell) newTrial(ctx context.Context) (*trial, error) {
	t := &trial{cell: c, dir: c.dir, number: c.began + 1}
	if c.began > 0 {
		t.dir = filepath.Join(c.dir, fmt.Sprintf("again-%d", c.began))
		if err := os.Mkdir(t.dir, 0o755); err != nil {
			return nil, fmt.Errorf("make a trial's directory: %w", err)
		}
		if err := c.clear(ctx); err != nil {
			return nil, err
		}
	}
	c.began++
	return t, nil
}

// clear removes what the meeting before left. Boxes that have forgotten give the
// same ports again. Where a server still knows a connection from such a port it
// answers the SYN with an ACK of the old one, the client sends a reset, the box
// drops the mapping, and a second later the SYN leaves again from another port,
// which spoils what the client knows of its box. And what a client's kernel still
// sends in a connection of before takes a port of a box that has forgotten it. So
// where these three do not let go, the network is built anew.
func (c *cell) clear(ctx context.Context) error {
	settled, err := c.network.settled(ctx, letGoWithin+4*c.config.Delay, "coordinator", "a", "b")
	switch {
	case err != nil:
		return err
	case settled:
		c.watch.forget()
		return c.network.Forget()
	}
	if err := c.close(); err != nil {
		return err
	}
	return c.open(ctx)
}

// letGoWithin is how long the kernels may take to close what the clients have
// left, beyond the exchange of FINs.
const letGoWithin = 200 * time.Millisecond

func (c *cell) close() error {
	c.servers.kill()
	if c.network == nil {
		return nil
	}
	err := c.network.Close()
	c.network = nil
	return err
}
