package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tcppunch/rawsock/netlab"
	"tcppunch/timing"
)

// benchPort is where the datagrams of the emulator's benchmark arrive.
const benchPort = 7000

// BenchEmulator measures how exact the core's delay is, idle and beside busy
// processes, and how many packets it moves. It must be called in the supervisor.
// progress, if not nil, is told what is about to be measured.
func BenchEmulator(ctx context.Context, c EmulatorConfig, progress func(string)) (EmulatorDocument, error) {
	if progress == nil {
		progress = func(string) {}
	}
	d := EmulatorDocument{Benchmark: "emulator", Machine: thisMachine(), Device: c.Device, Delay: int64(c.Delay)}
	if d.Device == netlab.Auto {
		d.Device = benchDevice()
	}
	if err := d.measureDelay(ctx, c, progress); err != nil {
		return d, err
	}
	for _, boxes := range []int{0, 1, 2} {
		progress(fmt.Sprintf("throughput, %d boxes", boxes))
		if err := d.measureRate(ctx, c, boxes); err != nil {
			return d, err
		}
	}
	d.Machine.LoadAfter = load()
	return d, nil
}

// benchDevice is what Auto means on this machine.
func benchDevice() netlab.DeviceKind {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return netlab.Packet
	}
	unix.Close(fd)
	return netlab.TUN
}

// emulatorBench is two hosts with a core between them, a socket that sends from
// the first and one that gets it at the second.
type emulatorBench struct {
	*Network
	from, to int
}

func (d *EmulatorDocument) build(delay time.Duration, boxes int) (*emulatorBench, error) {
	b := &emulatorBench{Network: &Network{namespaces: map[string]*netlab.Namespace{}}, from: -1, to: -1}
	err := b.attach(d.Device, delay, boxes)
	if err == nil {
		err = b.open()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("build the benchmark's network: %w", err), b.close())
	}
	d.RealTime = b.core.RealTime()
	return b, nil
}

func (b *emulatorBench) attach(kind netlab.DeviceKind, delay time.Duration, boxes int) (err error) {
	if b.core, err = netlab.NewCore(netlab.CoreConfig{}); err != nil {
		return err
	}
	for i, host := range []netip.Prefix{benchA, benchB} {
		name := string(rune('a' + i))
		ns, err := netlab.New(name)
		if err != nil {
			return err
		}
		b.namespaces[name] = ns
		p := netlab.PortConfig{Namespace: ns, Name: "eth0", Addresses: []netip.Prefix{netip.PrefixFrom(host.Addr(), 32)},
			Routed: []netip.Prefix{netip.PrefixFrom(host.Addr(), 32)}, Link: netlab.Link{Delay: delay / 2}, Device: kind}
		if i < boxes {
			p.Middlebox = &openBox{}
		}
		if err := b.core.Attach(p); err != nil {
			return err
		}
	}
	return b.core.Start()
}

// openBox is a middlebox that changes nothing.
type openBox struct{ out [1]netlab.Emission }

func (*openBox) Next() time.Time { return time.Time{} }

func (b *openBox) Process(p []byte, d netlab.Direction, _ time.Time) []netlab.Emission {
	b.out[0] = netlab.Emission{Direction: d, Packet: p}
	return b.out[:]
}

// open makes the two sockets; the receiver's arrivals are stamped by its kernel.
func (b *emulatorBench) open() error {
	to := &unix.SockaddrInet4{Port: benchPort, Addr: benchB.Addr().As4()}
	err := b.namespaces["b"].Do(func() (err error) {
		if b.to, err = datagramSocket(); err != nil {
			return err
		}
		return errors.Join(unix.SetsockoptInt(b.to, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1), unix.Bind(b.to, to))
	})
	if err != nil {
		return fmt.Errorf("open receiver: %w", err)
	}
	err = b.namespaces["a"].Do(func() (err error) {
		if b.from, err = datagramSocket(); err != nil {
			return err
		}
		return unix.Connect(b.from, to)
	})
	if err != nil {
		return fmt.Errorf("open sender: %w", err)
	}
	return nil
}

func datagramSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	return fd, os.NewSyscallError("socket", err)
}

func (b *emulatorBench) close() error {
	for _, fd := range []int{b.from, b.to} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	return b.Close()
}

func (d *EmulatorDocument) measureDelay(ctx context.Context, c EmulatorConfig, progress func(string)) (err error) {
	b, err := d.build(c.Delay, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	loads := []int{0}
	if c.Busy > 0 {
		loads = append(loads, c.Busy)
	}
	for _, busy := range loads {
		progress(fmt.Sprintf("delay, %d busy processes", busy))
		result, err := b.delays(ctx, c, busy)
		if err != nil {
			return err
		}
		d.Conditions = append(d.Conditions, result)
	}
	return nil
}

func (b *emulatorBench) delays(ctx context.Context, c EmulatorConfig, busy int) (EmulatorDelay, error) {
	var all nodes
	defer all.kill()
	for range busy {
		p, err := b.start("a", "lab", "bench", "busy")
		if err != nil {
			return EmulatorDelay{}, err
		}
		all.add(p)
	}
	if err := sleep(ctx, benchSettles); err != nil {
		return EmulatorDelay{}, err
	}
	mark := b.core.Mark()
	late, err := b.spacedOut(ctx, c)
	return EmulatorDelay{Busy: busy, Packets: len(late), Missing: c.Packets - len(late),
		Error: percentiles(late), Lateness: corePercentiles(b.core.LatenessSince(mark))}, err
}

// spacedOut sends a datagram every millisecond or so and returns by how much
// each was later than the delay.
func (b *emulatorBench) spacedOut(ctx context.Context, c EmulatorConfig) (late []int64, err error) {
	message := make([]byte, 64)
	for range c.Packets {
		binary.BigEndian.PutUint64(message, uint64(time.Now().UnixNano()))
		if _, err := unix.Write(b.from, message); err != nil {
			return nil, fmt.Errorf("send: %w", err)
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return nil, err
		}
		late = b.arrivals(late, c.Delay)
	}
	for end := timing.Now().Add(c.Delay + time.Second); len(late) < c.Packets && timing.Now() < end; {
		if err := sleep(ctx, time.Millisecond); err != nil {
			return nil, err
		}
		late = b.arrivals(late, c.Delay)
	}
	return late, nil
}

// arrivals takes what has come, without waiting.
func (b *emulatorBench) arrivals(late []int64, delay time.Duration) []int64 {
	message, control := make([]byte, 64), make([]byte, 128)
	for {
		n, size, _, _, err := unix.Recvmsg(b.to, message, control, 0)
		if err != nil || n < 8 {
			return late
		}
		if at, ok := arrivalStamp(control[:size]); ok {
			late = append(late, at-int64(binary.BigEndian.Uint64(message))-int64(delay))
		}
	}
}

// arrivalStamp reads the struct timespec of SO_TIMESTAMPNS (socket(7)).
func arrivalStamp(control []byte) (ns int64, ok bool) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0, false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			return (*unix.Timespec)(unsafe.Pointer(&m.Data[0])).Nano(), true
		}
	}
	return 0, false
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// inFlight bounds the packets on the way: the queue of a device has room for
// them even if the core does not run meanwhile.
const inFlight = 8000

// measureRate sends datagrams as fast as the core takes them. Nobody reads them:
// a reader would take a processor from the sender.
func (d *EmulatorDocument) measureRate(ctx context.Context, c EmulatorConfig, boxes int) (err error) {
	b, err := d.build(c.Delay, boxes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	r := EmulatorRate{Boxes: boxes}
	used, err := b.core.CPUTime()
	if err != nil {
		return err
	}
	begin := timing.Now()
	if err := b.flood(ctx, c.Burst); err != nil {
		return err
	}
	r.Elapsed = int64(timing.Now().Sub(begin))
	after, err := b.core.CPUTime()
	if err != nil {
		return err
	}
	r.CPU = int64(after - used)
	l := b.core.Lateness()
	r.Packets = int(l.Delivered)
	r.Dropped = c.Burst - r.Packets
	r.conclude()
	d.Throughput = append(d.Throughput, r)
	return nil
}

func (b *emulatorBench) flood(ctx context.Context, packets int) error {
	message := make([]byte, 64)
	gone := func() int { l := b.core.Lateness(); return int(l.Delivered + l.Dropped.Overflow) }
	for sent, left := 0, inFlight; sent < packets; sent, left = sent+1, left-1 {
		for left <= 0 {
			if left = inFlight - (sent - gone()); left > 0 {
				break
			}
			if err := sleep(ctx, 100*time.Microsecond); err != nil {
				return err
			}
		}
		if _, err := unix.Write(b.from, message); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	for limit := timing.Now().Add(5 * time.Second); gone() < packets && timing.Now() < limit; {
		if err := sleep(ctx, 100*time.Microsecond); err != nil {
			return err
		}
	}
	return nil
}
