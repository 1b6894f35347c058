package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/rendezvous"
)

func coordinatorCommand() *cli.Command {
	return &cli.Command{
		Name:  "coordinator",
		Usage: "introduce peers to each other and tell them how they look from outside",
		Description: "Runs until Ctrl-C. Prints one line once it serves: pass the string after\n" +
			"'ready:' to the peers' --coordinator. Peers need its TCP ports only.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: ":7770", Usage: "`[HOST]:PORT` for peers"},
			&cli.StringFlag{Name: "stun", Value: ":3478", Usage: "`[HOST]:PORT` for STUN over TCP, and over UDP for experiments"},
			&cli.StringFlag{Name: "stun-alternate", Value: ":3479", Usage: "second `[HOST]:PORT` for STUN, best on a second address of this host"},
			&cli.StringSliceFlag{Name: "advertise", Usage: "`HOST` by which peers reach this coordinator; repeat for IPv4 and IPv6"},
			&cli.StringSliceFlag{Name: "ntp", Usage: "`HOST[:PORT]` of a time server that both peers should ask; may be repeated"},
			stateFlag(),
		},
		Action: coordinate,
	}
}

func coordinate(c *cli.Context) error {
	identity, _, err := loadIdentity(c, "coordinator")
	if err != nil {
		return err
	}
	places, err := listenAll(c.Context, c.String("listen"), c.String("stun"), c.String("stun-alternate"))
	if err != nil {
		return err
	}
	stun, alternate := tcpAddr(places[1]), tcpAddr(places[2])
	server := rendezvous.NewCoordinator(rendezvous.CoordinatorConfig{
		Identity:  identity,
		STUN:      stunNames(c.StringSlice("advertise"), stun, alternate),
		NTP:       c.StringSlice("ntp"),
		DialBack:  dialBackSockets{},
		Addresses: addressesOf(stun, alternate),
	})
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	ended := make(chan error, len(places))
	var all sync.WaitGroup
	all.Go(func() { ended <- server.Serve(ctx, places[0]) })
	all.Go(func() { ended <- server.ServeSTUN(ctx, places[1], specified(alternate)) })
	all.Go(func() { ended <- server.ServeSTUN(ctx, places[2], specified(stun)) })
	serveDatagrams(ctx, &all, server, streamsOf(c), stun, alternate)
	addr := rendezvous.Address{Key: identity.ID(), Host: advertised(c.StringSlice("advertise"), tcpAddr(places[0])), Port: tcpAddr(places[0]).Port()}
	fmt.Fprintf(streamsOf(c).out, "tcppunch coordinator ready: %s\n", addr)
	err = <-ended
	cancel()
	all.Wait()
	return err
}

func listenAll(ctx context.Context, addresses ...string) ([]net.Listener, error) {
	var list []net.Listener
	var config net.ListenConfig
	for _, a := range addresses {
		l, err := config.Listen(ctx, "tcp", a)
		if err != nil {
			for _, open := range list {
				open.Close()
			}
			return nil, listenFailure(a, err)
		}
		list = append(list, l)
	}
	return list, nil
}

func listenFailure(address string, err error) error {
	var bad *net.AddrError
	var unknown *net.DNSError
	if errors.As(err, &bad) || errors.As(err, &unknown) {
		return usageError(fmt.Sprintf("%q is no address to listen on", address), "write HOST:PORT or :PORT")
	}
	return &failure{Status: statusFailed, Kind: "port-in-use", Message: fmt.Sprintf("cannot listen on %s: %v", address, errors.Unwrap(err)),
		Hint: "choose another port, or end the program that holds it"}
}

func tcpAddr(l net.Listener) netip.AddrPort {
	a := l.Addr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// addressesOf are the addresses that the listeners name.
func addressesOf(list ...netip.AddrPort) []netip.Addr {
	var addresses []netip.Addr
	for _, a := range list {
		if !a.Addr().IsUnspecified() {
			addresses = append(addresses, a.Addr())
		}
	}
	return addresses
}

// specified is the address where it names a host, and no address where it
// stands for all of this host's.
func specified(a netip.AddrPort) netip.AddrPort {
	if a.Addr().IsUnspecified() {
		return netip.AddrPort{}
	}
	return a
}

// stunNames tells peers where to ask. A listener on all addresses is named by
// the advertised hosts, or by an empty host: wherever the peer has reached us.
func stunNames(hosts []string, listeners ...netip.AddrPort) []string {
	if len(hosts) == 0 {
		hosts = []string{""}
	}
	var names []string
	for _, l := range listeners {
		port := strconv.Itoa(int(l.Port()))
		if !l.Addr().IsUnspecified() {
			names = append(names, l.String())
			continue
		}
		for _, h := range hosts {
			names = append(names, net.JoinHostPort(h, port))
		}
	}
	return names
}

// advertised is the host in the ready line: the user's word, or the address
// that is listened on, or this host's own.
func advertised(hosts []string, listen netip.AddrPort) string {
	if len(hosts) > 0 {
		return hosts[0]
	}
	if !listen.Addr().IsUnspecified() {
		return listen.Addr().String()
	}
	held, _ := net.InterfaceAddrs()
	for _, h := range held {
		if n, ok := h.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	return "127.0.0.1"
}
