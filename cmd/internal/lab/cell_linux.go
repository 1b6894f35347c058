package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
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
	s := PlanNetwork(config.A, config.B, linkOf(config))
	c := &cell{config: config, dir: dir, watch: newWatcher(edgesOf(s))}
	var err error
	if c.network, err = Build(s, c.watch.observe); err != nil {
		return nil, closedOr(err)
	}
	if err := c.startServers(ctx); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
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
func (c *cell) newTrial() (*trial, error) {
	t := &trial{cell: c, dir: c.dir, number: c.began + 1}
	if c.began > 0 {
		t.dir = filepath.Join(c.dir, fmt.Sprintf("again-%d", c.began))
		if err := os.Mkdir(t.dir, 0o755); err != nil {
			return nil, fmt.Errorf("make a trial's directory: %w", err)
		}
		if err := c.network.Forget(); err != nil {
			return nil, err
		}
		c.watch.forget()
	}
	c.began++
	return t, nil
}

func (c *cell) close() error {
	c.servers.kill()
	return c.network.Close()
}
