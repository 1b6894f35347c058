package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/lab"
	"tcppunch/rawsock"
	"tcppunch/timing"
)

func labBenchCraftCommand() *cli.Command {
	return &cli.Command{
		Name:  "craft",
		Usage: "how fast crafted SYNs leave on one processor, against a loop in C, and how late one leaves, against connect()",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "syns", Value: 10000, Usage: "in a burst, at most 10000"},
			&cli.IntFlag{Name: "rounds", Value: 50, Usage: "bursts of each variant"},
			&cli.IntFlag{Name: "launches", Value: 300, Usage: "of a single SYN, each way"},
			jsonFlag(),
		},
		Action: labBenchCraft,
	}
}

func labBenchCraft(c *cli.Context) error {
	config := lab.CraftConfig{SYNs: c.Int("syns"), Rounds: c.Int("rounds"), Launches: c.Int("launches")}
	if config.SYNs < 1 || config.SYNs > 10000 || config.Rounds < 1 || config.Launches < 1 {
		return usageError("a burst is of 1 to 10000 SYNs, in at least one round, and there is at least one launch", "give --syns 10000 --rounds 50 --launches 300")
	}
	return bench(c, writeBenchCraft, func(ctx context.Context, _ func(string)) (lab.CraftDocument, error) {
		return lab.BenchCraft(ctx, config)
	})
}

func writeBenchCraft(w io.Writer, d lab.CraftDocument) error {
	fmt.Fprintf(w, "bursts of %d crafted SYNs, %d of each variant in turn, on one processor; %s\n\n", d.SYNs, d.Rounds, machine(d.Machine))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "variant\tmedian\tSYNs a second\tcrafted ÷")
	for _, v := range lab.CraftVariants {
		if _, ran := d.Median[v]; !ran {
			continue
		}
		share := "–"
		if s, ok := d.Share[v]; ok {
			share = fmt.Sprintf("%.2f", s)
		}
		fmt.Fprintf(table, "%s\t%v\t%.0f\t%s\n", v, time.Duration(d.Median[v]).Round(time.Microsecond), d.Rate[v], share)
	}
	fmt.Fprintf(table, "\n%d launches of one SYN each way: its distance from the instant at the tap\nvariant\tp50\tp90\tp99\tmax\n", d.Launches)
	for _, v := range []string{"connect", "crafted"} {
		p := d.Late[v]
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", v, briefTime(p.P50), briefTime(p.P90), briefTime(p.P99), briefTime(p.Max))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	compiler := "no C compiler was found, so the rival is the same loop in Go"
	if d.Compiler != nil {
		compiler = "the rival in C was compiled by " + *d.Compiler
	}
	_, err := fmt.Fprintf(w, "\n%s; %s\n", compiler, reached(d.Privileges))
	return err
}

func labBenchCraftNodeCommand() *cli.Command {
	return &cli.Command{
		Name: "craft-node", Hidden: true, Usage: "send crafted bursts and tell how long they took",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "local"}, &cli.StringFlag{Name: "remote"}, &cli.StringFlag{Name: "rival"},
			&cli.IntFlag{Name: "syns"}, &cli.IntFlag{Name: "rounds"}, &cli.IntFlag{Name: "launches"},
		},
		Action: func(c *cli.Context) error {
			local, remote, err := benchAddresses(c, netip.ParseAddrPort)
			if err != nil {
				return err
			}
			b := &benchCrafter{local: netip.AddrPortFrom(local, 20000), remote: remote, syns: c.Int("syns"),
				times: lab.CraftTimes{Elapsed: map[string][]int64{}, Apart: map[string][]int64{}}}
			if err := b.run(c.Context, c.String("rival"), c.Int("rounds"), c.Int("launches")); err != nil {
				return err
			}
			return json.NewEncoder(streamsOf(c).out).Encode(b.times)
		},
	}
}

// benchCrafter is the node of `lab bench craft`.
type benchCrafter struct {
	local, remote netip.AddrPort
	syns          int
	sender        *rawsock.Sender
	rival         *lab.Rival // nil without a compiler
	times         lab.CraftTimes
}

func (b *benchCrafter) run(ctx context.Context, rival string, rounds, launches int) (err error) {
	if b.sender, err = rawsock.OpenSender(b.local.Addr(), rawsock.Options{}); err != nil {
		return err
	}
	defer b.sender.Close()
	if err := b.single(ctx, launches); err != nil {
		return err
	}
	if err := lab.PinThread(); err != nil {
		return err
	}
	if rival != "" {
		if b.rival, err = lab.StartRival(rival, b.local, b.remote, b.syns); err != nil {
			return err
		}
		defer b.rival.Close()
	}
	return b.bursts(ctx, rounds)
}

// syn is the SYN of the other variants.
func (b *benchCrafter) syn(i int) rawsock.Segment {
	return rawsock.Segment{From: netip.AddrPortFrom(b.local.Addr(), b.local.Port()+uint16(i)), To: b.remote, Flags: rawsock.SYN, Seq: uint32(i) << 12,
		Window: 64240, DontFragment: true, Options: rawsock.TCPOptions(nil).MSS(1460).SACKPermitted().Timestamps(1, 0).NOP().WindowScale(7)}
}

// bursts sends the variants in turn. The order changes from round to round, so
// that none always comes after the same other one.
func (b *benchCrafter) bursts(ctx context.Context, rounds int) error {
	list := make([]rawsock.Segment, b.syns)
	for i := range list {
		list[i] = b.syn(i)
	}
	volley, err := b.sender.Load(list)
	if err != nil {
		return err
	}
	for i := range rounds {
		for j := range lab.CraftVariants {
			variant := lab.CraftVariants[(i+j)%len(lab.CraftVariants)]
			if variant == "c" && b.rival == nil {
				continue
			}
			took, err := b.burst(ctx, variant, volley)
			if err != nil {
				return fmt.Errorf("%s burst: %w", variant, err)
			}
			b.times.Elapsed[variant] = append(b.times.Elapsed[variant], int64(took))
		}
	}
	return nil
}

func (b *benchCrafter) burst(ctx context.Context, variant string, volley *rawsock.Volley) (time.Duration, error) {
	switch variant {
	case "c":
		return b.rival.Burst()
	case "go":
		return lab.CraftedBurst(b.local, b.remote, b.syns)
	}
	launched, err := rawsock.Launch(ctx, int64(timing.Now().Add(15*time.Millisecond)), []rawsock.Shot{{Volley: volley}})
	if err != nil {
		return 0, err
	}
	if b.times.Privileges, err = json.Marshal(launched.Reached); err != nil {
		return 0, err
	}
	shot := launched.Shots[0]
	return time.Duration(shot.After - shot.Before), shot.Err
}

// craftBenchSpacing is between two launches of a single SYN.
const craftBenchSpacing = 30 * time.Millisecond

// single launches one SYN at a time, by connect() and crafted in turn, under a
// tap that reads all the time.
func (b *benchCrafter) single(ctx context.Context, launches int) error {
	tap, err := rawsock.OpenTap(rawsock.TapConfig{Interface: "eth0", SnapLen: 96})
	if err != nil {
		return err
	}
	defer tap.Close()
	stamps := make(chan map[uint16]time.Time, 1)
	go func() { stamps <- firstSYNs(tap) }()
	instants := make([]timing.Instant, 2*launches)
	for i := range instants {
		instants[i] = timing.Now().Add(craftBenchSpacing)
		if err = b.launchOne(ctx, i, instants[i]); err != nil {
			break
		}
	}
	tap.Stop()
	left := <-stamps
	if err != nil {
		return err
	}
	wall := wallAtZero()
	for i, at := range instants {
		if stamp, ok := left[b.local.Port()+uint16(i)]; ok {
			late := stamp.UnixNano() - wall - int64(at)
			b.times.Apart[singleVariant(i)] = append(b.times.Apart[singleVariant(i)], max(late, -late))
		}
	}
	return nil
}

func singleVariant(i int) string { return [...]string{"connect", "crafted"}[i%2] }

func (b *benchCrafter) launchOne(ctx context.Context, i int, at timing.Instant) error {
	segment := b.syn(i)
	shot := rawsock.Shot{Remote: b.remote}
	if singleVariant(i) == "crafted" {
		volley, err := b.sender.Load([]rawsock.Segment{segment})
		if err != nil {
			return err
		}
		shot.Volley = volley
	} else {
		s, err := rawsock.Open(segment.From, rawsock.Options{})
		if err != nil {
			return err
		}
		defer s.Close()
		shot.Socket = s
	}
	launched, err := rawsock.Launch(ctx, int64(at), []rawsock.Shot{shot})
	if err != nil {
		return err
	}
	return launched.Shots[0].Err
}
