package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"tcppunch/captures"
	"tcppunch/rawsock"
)

func captureCommand() *cli.Command {
	return &cli.Command{
		Name:  "capture",
		Usage: "write what crosses an interface to a pcapng or pcap file",
		Description: "With --host or --port only TCP segments of that address and port are written, and all\n" +
			"ICMP errors, which may quote them. Only the first bytes of each packet are kept (--snaplen).\n" +
			"'tcppunch capture --interface any --write - | tcppunch analyze -' explains what it sees.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "interface", Usage: "the interface's `NAME`, or any", Required: true},
			&cli.StringFlag{Name: "write", Usage: "the `FILE` to write, classic pcap if it ends in .pcap; - for stdout", Required: true},
			&cli.StringFlag{Name: "host", Usage: "only TCP from or to this `ADDRESS`"},
			&cli.IntFlag{Name: "port", Usage: "only TCP from or to this `PORT`"},
			&cli.IntFlag{Name: "snaplen", Usage: "`BYTES` kept of each packet", Value: 256},
			&cli.DurationFlag{Name: "duration", Usage: "end after this `TIME`; otherwise with Ctrl-C"},
			&cli.Uint64Flag{Name: "count", Usage: "end after this many packets, `N`"},
			jsonFlag(),
		},
		Action: capture,
	}
}

// captureResult is the document of `capture --json`.
type captureResult struct {
	Interface  string            `json:"interface"`
	File       string            `json:"file"`
	LinkType   captures.LinkType `json:"link_type"`
	Packets    uint64            `json:"packets"` // written
	Drops      uint64            `json:"drops"`   // lost because the ring was full
	DurationNS int64             `json:"duration_ns"`
}

func capture(c *cli.Context) error {
	config, err := tapConfig(c)
	if err != nil {
		return err
	}
	tap, err := rawsock.OpenTap(config)
	if err != nil {
		return tapFailure(err)
	}
	defer tap.Close()
	file, err := openCapture(c.String("write"), streamsOf(c).out)
	if err != nil {
		return err
	}
	defer file.Close()
	return recordUntilEnd(c, tap, file)
}

func tapConfig(c *cli.Context) (rawsock.TapConfig, error) {
	config := rawsock.TapConfig{Interface: c.String("interface"), SnapLen: c.Int("snaplen")}
	host, err := wantedHost(c)
	if err != nil {
		return config, err
	}
	config.Host = host
	port, err := wantedPort(c)
	if err != nil {
		return config, err
	}
	if port != 0 {
		config.Ports = []uint16{port}
	}
	switch {
	case config.SnapLen < 1 || config.SnapLen > 65535:
		return config, usageError(fmt.Sprintf("--snaplen %d is no length of a packet", config.SnapLen), "give 1 to 65535 bytes; 256 hold all headers")
	case c.Duration("duration") < 0:
		return config, usageError("--duration is negative", "give a time such as 30s")
	case c.Bool("json") && c.String("write") == "-":
		return config, usageError("stdout cannot take both the capture and --json", "write the capture to a file")
	}
	return config, nil
}

// tapFailure gives an error of rawsock.OpenTap its exit status.
func tapFailure(err error) error {
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return &failure{Status: statusUnavailable, Kind: "platform-missing", Message: "live capture works on Linux only: " + err.Error(),
			Hint: "capture with tcpdump or Wireshark; 'tcppunch analyze' reads their files"}
	case errors.Is(err, rawsock.ErrNoInterface):
		return &failure{Status: statusFailed, Kind: "no-interface", Message: err.Error(), Hint: "name one of these with --interface"}
	}
	return err
}

// openCapture opens a file for its owner only, or standard output for "-".
func openCapture(path string, stdout io.Writer) (io.WriteCloser, error) {
	if path == "-" {
		return keepOpen{stdout}, nil
	}
	return ownFile(path)
}

// ownFile makes a file that its owner alone can read, since captures and
// reports tell who talks to whom.
func ownFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write file: %w", err)
	}
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm() != 0o600 {
		if err := file.Chmod(0o600); err != nil {
			file.Close()
			return nil, fmt.Errorf("write file: %w", err)
		}
	}
	return file, nil
}

type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }

func recordUntilEnd(c *cli.Context, tap *rawsock.Tap, file io.WriteCloser) error {
	s, start := streamsOf(c), time.Now()
	ctx, cancel := context.WithCancel(c.Context)
	if d := c.Duration("duration"); d > 0 {
		ctx, cancel = context.WithTimeout(c.Context, d)
	}
	defer cancel()
	defer context.AfterFunc(ctx, tap.Stop)()
	link := captures.LinkType(tap.LinkType())
	s.say("capturing on %s (%s, first %d bytes of each packet)", c.String("interface"), link, tap.SnapLen())
	written, err := record(tap, file, c.String("interface"), isClassic(c.String("write")), c.Uint64("count"))
	if closing := file.Close(); err == nil && closing != nil {
		err = fmt.Errorf("write capture: %w", closing)
	}
	_, drops := tap.Stats()
	s.say("%d packets written, %d dropped", written, drops)
	if err != nil {
		return err
	}
	r := captureResult{Interface: c.String("interface"), File: c.String("write"), LinkType: link, Packets: written, Drops: drops, DurationNS: time.Since(start).Nanoseconds()}
	if err := result(c, r, func(io.Writer) error { return nil }); err != nil {
		return err
	}
	if c.Context.Err() != nil {
		return exitStatus(statusInterrupted)
	}
	return nil
}

// record copies packets until the tap ends or count of them are written; 0 is
// no limit. It flushes whenever it would have to wait, so that a reader at the
// other end of a pipe sees packets as they come.
func record(tap *rawsock.Tap, to io.Writer, name string, classic bool, count uint64) (written uint64, err error) {
	buffer := bufio.NewWriterSize(to, 64<<10)
	w, err := newCaptureWriter(buffer, tap, name, classic)
	if err != nil {
		return 0, err
	}
	if err := buffer.Flush(); err != nil {
		return 0, fmt.Errorf("write capture: %w", err)
	}
	for count == 0 || written < count {
		frame, err := tap.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return written, errors.Join(err, buffer.Flush())
		}
		if err := w.WritePacket(captures.Packet{Time: frame.Time, Data: frame.Data, Length: frame.Length, Direction: captures.Direction(frame.Direction)}); err != nil {
			return written, err
		}
		written++
		if tap.Buffered() == 0 {
			if err := buffer.Flush(); err != nil {
				return written, fmt.Errorf("write capture: %w", err)
			}
		}
	}
	if err := buffer.Flush(); err != nil {
		return written, fmt.Errorf("write capture: %w", err)
	}
	return written, nil
}

func newCaptureWriter(to io.Writer, tap *rawsock.Tap, name string, classic bool) (*captures.Writer, error) {
	link := captures.LinkType(tap.LinkType())
	if classic {
		return captures.NewPcapWriter(to, link, tap.SnapLen())
	}
	return captures.NewWriter(to, captures.Interface{Name: name, LinkType: link, SnapLen: tap.SnapLen()})
}
