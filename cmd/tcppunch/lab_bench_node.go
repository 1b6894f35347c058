package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"time"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/lab"
	"tcppunch/rawsock"
	"tcppunch/timing"
)

// The nodes of the benchmarks. They are hidden, since alone they measure nothing.

func labBenchBusyCommand() *cli.Command {
	return &cli.Command{Name: "busy", Hidden: true, Usage: "keep a processor busy until killed", Action: func(c *cli.Context) error {
		runtime.LockOSThread()
		for n := 0; c.Context.Err() == nil; {
			for range 1_000_000 {
				n++
			}
		}
		return c.Context.Err()
	}}
}

func labBenchLaunchNodeCommand() *cli.Command {
	return &cli.Command{
		Name: "launch-node", Hidden: true, Usage: "launch at instants and tell when the SYNs left",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "local"}, &cli.StringFlag{Name: "remote"},
			&cli.Int64Flag{Name: "begin"}, &cli.DurationFlag{Name: "spacing"}, &cli.IntFlag{Name: "launches"},
		},
		Action: func(c *cli.Context) error {
			local, remote, err := benchAddresses(c, netip.ParseAddr)
			if err != nil {
				return err
			}
			b := &benchLauncher{node: lab.BenchNode{Local: local, Remote: remote,
				Begin: c.Int64("begin"), Spacing: c.Duration("spacing"), Launches: c.Int("launches")}}
			if err := b.run(c.Context); err != nil {
				return err
			}
			return json.NewEncoder(streamsOf(c).out).Encode(b.shots)
		},
	}
}

// benchAddresses reads the flags --local and --remote.
func benchAddresses[T any](c *cli.Context, parse func(string) (T, error)) (local netip.Addr, remote T, err error) {
	local, err = netip.ParseAddr(c.String("local"))
	if err != nil {
		return local, remote, usageError("--local: "+err.Error(), "this command is a part of 'tcppunch lab bench'")
	}
	if remote, err = parse(c.String("remote")); err != nil {
		return local, remote, usageError("--remote: "+err.Error(), "this command is a part of 'tcppunch lab bench'")
	}
	return local, remote, nil
}

// benchLauncher is one side of `lab bench launch`.
type benchLauncher struct {
	node  lab.BenchNode
	shots []lab.BenchShot
	last  *rawsock.Socket // of the launch before
}

// run launches the variants in turn under a tap that reads all the time, as in
// a meeting.
func (b *benchLauncher) run(ctx context.Context) error {
	tap, err := rawsock.OpenTap(rawsock.TapConfig{Interface: "eth0", SnapLen: 96})
	if err != nil {
		return err
	}
	defer tap.Close()
	stamps := make(chan map[uint16]time.Time, 1)
	go func() { stamps <- firstSYNs(tap) }()
	err = b.launchAll(ctx)
	b.replace(nil)
	tap.Stop()
	left := <-stamps
	if err != nil {
		return err
	}
	b.judge(left)
	return nil
}

func (b *benchLauncher) launchAll(ctx context.Context) error {
	for i := range b.node.Launches {
		shot := lab.BenchShot{Variant: lab.BenchVariants[i%len(lab.BenchVariants)]}
		at := timing.Instant(b.node.Instant(i))
		// What begins too late to be prepared is missed; neither side disturbs
		// the next one.
		if at.Sub(timing.Now()) > benchPrepares {
			privileges, err := b.launch(ctx, i, at, shot.Variant)
			if err != nil {
				return err
			}
			shot.Privileges = privileges
		}
		b.shots = append(b.shots, shot)
	}
	return nil
}

const benchPrepares = 5 * time.Millisecond

// launch connects one guarded socket, and closes that of the launch before with
// a reset, wherever its attempt stands.
func (b *benchLauncher) launch(ctx context.Context, i int, at timing.Instant, variant string) (json.RawMessage, error) {
	port := b.node.Port(i)
	s, err := rawsock.Open(netip.AddrPortFrom(b.node.Local, port), rawsock.Options{TTL: 255, MinTTL: 192})
	if err != nil {
		return nil, err
	}
	defer b.replace(s)
	remote := netip.AddrPortFrom(b.node.Remote, port)
	if variant == lab.BenchVariants[0] {
		time.Sleep(at.Sub(timing.Now()))
		return nil, s.Connect(remote)
	}
	var limit rawsock.Step
	if err := limit.UnmarshalText([]byte(variant)); err != nil {
		return nil, err
	}
	pad := rawsock.NewLaunchpad(rawsock.LaunchConfig{Limit: limit})
	fired, err := pad.Launch(ctx, int64(at), []rawsock.Shot{{Socket: s, Remote: remote}})
	if err := errors.Join(err, pad.Close()); err != nil {
		return nil, err
	}
	privileges, err := json.Marshal(pad.Privileges())
	return privileges, errors.Join(err, fired[0].Err)
}

func (b *benchLauncher) replace(s *rawsock.Socket) {
	if b.last != nil {
		b.last.Abort()
	}
	b.last = s
}

// judge turns the tap's stamps, which are of the wall clock, into lateness.
func (b *benchLauncher) judge(left map[uint16]time.Time) {
	wall := wallAtZero()
	for i := range b.shots {
		if stamp, ok := left[b.node.Port(i)]; ok {
			late := stamp.UnixNano() - wall - b.node.Instant(i)
			b.shots[i].Late = &late
		}
	}
}

// wallAtZero is what the wall clock said, in nanoseconds, when the monotonic
// clock was 0: both run at the same rate, and nobody sets the clock meanwhile.
func wallAtZero() int64 {
	best, width := int64(0), time.Duration(1<<63-1)
	for range 32 {
		before := timing.Now()
		wall := time.Now().UnixNano()
		if w := timing.Now().Sub(before); w < width {
			best, width = wall-int64(before.Add(w/2)), w
		}
	}
	return best
}

// firstSYNs reads a tap to its end and returns when the first SYN left from
// each port.
func firstSYNs(tap *rawsock.Tap) map[uint16]time.Time {
	left := map[uint16]time.Time{}
	for {
		f, err := tap.Next()
		if err != nil {
			return left
		}
		port, ok := outgoingSYN(f)
		if _, seen := left[port]; ok && !seen {
			left[port] = f.Time
		}
	}
}

// outgoingSYN reads the source port of a SYN over IPv4 without options on
// Ethernet.
func outgoingSYN(f rawsock.Frame) (port uint16, ok bool) {
	const ip, tcp, flags = 14, 34, 47
	if f.Direction != rawsock.Outgoing || len(f.Data) <= flags || f.Data[ip] != 0x45 || f.Data[ip+9] != 6 || f.Data[flags] != 0x02 {
		return 0, false
	}
	return binary.BigEndian.Uint16(f.Data[tcp:]), true
}

func labBenchBurstNodeCommand() *cli.Command {
	return &cli.Command{
		Name: "burst-node", Hidden: true, Usage: "send bursts and tell how long they took",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "local"}, &cli.StringFlag{Name: "remote"}, &cli.IntFlag{Name: "syns"}, &cli.IntFlag{Name: "rounds"},
		},
		Action: func(c *cli.Context) error {
			local, remote, err := benchAddresses(c, netip.ParseAddrPort)
			if err != nil {
				return err
			}
			return benchBursts(c.Context, streamsOf(c).out, netip.AddrPortFrom(local, 20000), remote, c.Int("syns"), c.Int("rounds"))
		},
	}
}

// benchBursts sends the variants in turn. The order changes from round to
// round, so that none always comes after the same other one.
func benchBursts(ctx context.Context, out io.Writer, local, remote netip.AddrPort, syns, rounds int) error {
	times := lab.BurstTimes{Elapsed: map[string][]int64{}}
	burst := func(variant string) (time.Duration, error) {
		switch variant {
		case "unprepared":
			return unpreparedBurst(local, remote, syns)
		case "bare":
			return lab.BareBurst(local, remote, syns)
		case "sendmmsg":
			return lab.CraftedBurst(local, remote, syns)
		}
		return preparedBurst(ctx, local, remote, syns, &times)
	}
	for i := range rounds {
		for j := range lab.BurstVariants {
			variant := lab.BurstVariants[(i+j)%len(lab.BurstVariants)]
			took, err := burst(variant)
			if err != nil {
				return fmt.Errorf("%s burst: %w", variant, err)
			}
			times.Elapsed[variant] = append(times.Elapsed[variant], int64(took))
		}
	}
	return json.NewEncoder(out).Encode(times)
}

// unpreparedBurst makes the same sockets as preparedBurst, but within the time
// that counts.
func unpreparedBurst(local, remote netip.AddrPort, n int) (time.Duration, error) {
	sockets := make([]*rawsock.Socket, 0, n)
	defer func() {
		for _, s := range sockets {
			s.Close()
		}
	}()
	begin := timing.Now()
	for i := range n {
		s, err := rawsock.Open(netip.AddrPortFrom(local.Addr(), local.Port()+uint16(i)), rawsock.Options{})
		if err != nil {
			return 0, err
		}
		sockets = append(sockets, s)
		if err := s.Connect(remote); err != nil {
			return 0, err
		}
	}
	return timing.Now().Sub(begin), nil
}

// preparedBurst launches sockets that stand ready, and times it from the first
// connect() to the end of the last.
func preparedBurst(ctx context.Context, local, remote netip.AddrPort, n int, times *lab.BurstTimes) (time.Duration, error) {
	shots := make([]rawsock.Shot, 0, n)
	defer func() {
		for _, s := range shots {
			s.Socket.Close()
		}
	}()
	for i := range n {
		s, err := rawsock.Open(netip.AddrPortFrom(local.Addr(), local.Port()+uint16(i)), rawsock.Options{})
		if err != nil {
			return 0, err
		}
		shots = append(shots, rawsock.Shot{Socket: s, Remote: remote})
	}
	launched, err := rawsock.Launch(ctx, int64(timing.Now().Add(15*time.Millisecond)), shots)
	if err != nil {
		return 0, err
	}
	first, last := launched.Shots[0].Before, int64(0)
	for _, f := range launched.Shots {
		if f.Err != nil {
			return 0, f.Err
		}
		first, last = min(first, f.Before), max(last, f.After)
	}
	if times.Privileges, err = json.Marshal(launched.Reached); err != nil {
		return 0, err
	}
	return time.Duration(last - first), nil
}
