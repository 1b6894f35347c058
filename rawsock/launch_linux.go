package rawsock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The phases before an instant, of which only the last spins. Go's scheduler
// takes the processor from a goroutine 10 ms after it last gave it one, system
// calls included, and a locked goroutine comes back by way of another thread,
// which under load takes milliseconds. So the goroutine yields by itself while
// there is time for that, and from then on is never out of its slice.
const (
	quietFrom  = 30 * time.Millisecond // stop the garbage collector
	yieldFrom  = 9 * time.Millisecond  // yield, and sleep in the kernel without telling the runtime
	slice      = 9 * time.Millisecond  // of the scheduler's 10 ms (forcePreemptNS of the runtime)
	yieldTakes = 3 * time.Millisecond  // nearer to the instant than this it is not risked
)

// Launchpad is a thread prepared to connect at an instant: the calling
// goroutine's own, which it is locked to until Close. Its methods must be
// called from that goroutine only, and Close before it does other work for
// long, since a SCHED_FIFO thread keeps ordinary ones off its processor.
type Launchpad struct {
	config  LaunchConfig
	lead    time.Duration
	thread  thread
	wake    int // an eventfd by which a context ends the sleep; −1 where there is none
	quiet   bool
	awake   *os.File // while it is open no processor sleeps; nil where that was not asked for or refused
	yielded int64    // when the goroutine last got a fresh slice of the scheduler
	spun    time.Duration
	closed  bool
	list    []aimed
	stage   rehearsal
	request unix.Timespec // of the sleep; here, so that it is not allocated then
}

// aimed is a Shot laid out for the system call.
type aimed struct {
	socket *Socket // nil for a volley
	volley *Volley // in place of socket
	to     sockaddr
	at     int64
	errno  syscall.Errno
	over   bool // the socket was closed before
}

// NewLaunchpad prepares the calling goroutine's thread as far as the system
// grants, step by step; what it refuses is no error but seen in Privileges.
// With SCHED_FIFO, memory that is present is locked too, where that is allowed.
func NewLaunchpad(c LaunchConfig) *Launchpad {
	runtime.LockOSThread()
	p := &Launchpad{config: c, wake: -1}
	p.thread.prepare(c.Limit)
	p.lead = c.lead(p.thread.reached.FIFO)
	return p
}

// Privileges is what the system granted.
func (p *Launchpad) Privileges() Privileges { return p.thread.reached }

// Launch connects every shot in the given order, so that the first SYN leaves at
// the instant at, a reading of CLOCK_MONOTONIC in nanoseconds, or at once when
// that is past. It sleeps until shortly before the instant and then spins, for at most 3 ms
// before it sleeps 10 ms again, so that the later shots of a paced burst may
// leave some 50 µs late. A large burst without pauses is divided among the
// processors, one shot to each in turn, so that its order is kept to about one
// shot.
//
// It may be called again, also with the same sockets: a socket whose attempt
// was refused starts a new one from its port, one whose attempt is in progress
// or has succeeded sends nothing. When ctx ends first nothing more is called,
// and ctx.Err() is returned with what was done.
func (p *Launchpad) Launch(ctx context.Context, at int64, shots []Shot) ([]Fired, error) {
	if p.closed {
		return nil, ErrClosed
	}
	if n := threadsFor(at, shots); n > 1 {
		return p.spread(ctx, at, shots, n)
	}
	return p.launch(ctx, at, shots)
}

// launch is Launch on this thread alone.
func (p *Launchpad) launch(ctx context.Context, at int64, shots []Shot) ([]Fired, error) {
	fired := make([]Fired, len(shots))
	if err := p.aim(at, shots, fired); err != nil {
		return fired, err
	}
	p.stage.open(p.list)
	defer p.stage.close()
	if err := p.approach(ctx, at); err != nil {
		return fired, err
	}
	err := p.fire(ctx, fired)
	for i := range fired {
		fired[i].Err = p.list[i].failure(shots[i])
	}
	return fired, err
}

// aim lays the shots out, so that nothing is left to be computed at the instant.
func (p *Launchpad) aim(at int64, shots []Shot, fired []Fired) error {
	p.list = append(p.list[:0], make([]aimed, len(shots))...)
	for i, shot := range shots {
		a := &p.list[i]
		*a = aimed{volley: shot.Volley, at: at + int64(shot.After)}
		if i > 0 && a.at < p.list[i-1].at {
			return errors.New("launch: the shots are not in the order of their instants")
		}
		if a.volley != nil {
			a.to = a.volley.first()
			continue
		}
		a.socket = shot.Socket
		// The scope of an IPv6 zone is known where the socket's own has it.
		shot.Socket.mu.Lock()
		a.to = shot.Socket.remote
		shot.Socket.mu.Unlock()
		if err := a.to.set(shot.Remote); err != nil {
			fired[i].Err = fmt.Errorf("connect %v to %v: %w", shot.Socket.local, shot.Remote, err)
			return fired[i].Err
		}
	}
	return nil
}

// approach sleeps until the goroutine must no longer leave its thread.
func (p *Launchpad) approach(ctx context.Context, at int64) error {
	p.spun = 0
	if time.Duration(at-monotonic()) > quietFrom {
		p.speak()
		p.letSleep()
	}
	stop, err := p.watch(ctx, at)
	if err != nil {
		return err
	}
	defer stop()
	if err := p.doze(ctx, at-int64(quietFrom)); err != nil {
		return err
	}
	p.hush()
	p.keepAwake()
	if err := p.doze(ctx, at-int64(yieldFrom)); err != nil {
		return err
	}
	p.yield(at)
	return ctx.Err()
}

// watch lets the end of ctx end a doze.
func (p *Launchpad) watch(ctx context.Context, at int64) (stop func(), err error) {
	if ctx.Done() == nil || at-int64(yieldFrom) <= monotonic() {
		return func() {}, nil
	}
	if p.wake < 0 {
		if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
			return nil, fmt.Errorf("launch: %w", os.NewSyscallError("eventfd", err))
		}
	}
	told := make(chan struct{})
	forget := context.AfterFunc(ctx, func() {
		defer close(told)
		one := [8]byte{0: 1, 7: 1} // not 0 in either order of bytes
		unix.Write(p.wake, one[:])
	})
	return func() {
		if !forget() {
			<-told
			var count [8]byte
			unix.Read(p.wake, count[:])
		}
	}, nil
}

// doze sleeps in the kernel, whose timers are exact on this thread, until the
// instant or the end of ctx. The runtime may use the processor meanwhile.
func (p *Launchpad) doze(ctx context.Context, until int64) error {
	for ctx.Err() == nil {
		left := until - monotonic()
		if left <= 0 {
			return nil
		}
		list := []unix.PollFd{{Fd: int32(p.wake), Events: unix.POLLIN}} // one of −1 is ignored (poll(2))
		timeout := unix.NsecToTimespec(left)
		if _, err := unix.Ppoll(list, &timeout, nil); err != nil && err != unix.EINTR {
			return fmt.Errorf("launch: %w", os.NewSyscallError("ppoll", err))
		}
	}
	return ctx.Err()
}

// yield gets a fresh slice of the scheduler, if the present one would end
// before the instant and there is time.
func (p *Launchpad) yield(at int64) {
	now := monotonic()
	if at-p.yielded < int64(slice) || at-now < int64(yieldTakes) {
		return
	}
	runtime.Gosched()
	p.yielded = monotonic()
}

// fire makes the system calls. From the sleep before the first on nothing is
// allocated and the runtime hears of nothing, unless there is a long pause.
func (p *Launchpad) fire(ctx context.Context, fired []Fired) error {
	now := monotonic()
	for i := range p.list {
		a := &p.list[i]
		if now < a.at-p.stage.passage() {
			var err error
			if now, err = p.await(ctx, a.at, now); err != nil {
				return err
			}
		}
		fired[i].Ahead = p.stage.passage()
		now = a.shoot(&fired[i], now)
	}
	return nil
}

// shoot makes one call and returns the time after it.
func (a *aimed) shoot(f *Fired, now int64) int64 {
	f.Before = now
	if a.volley != nil {
		a.errno = a.volley.fire()
	} else {
		a.errno, a.over = a.socket.launch(&a.to)
	}
	f.After = monotonic()
	return f.After
}

// await sleeps until the lead before an instant, spins from there on until a
// SYN's passage before it, and returns the time. When the launch has spun for
// long enough, sleep is all.
func (p *Launchpad) await(ctx context.Context, at, now int64) (int64, error) {
	if time.Duration(at-now) > yieldFrom {
		if err := p.approach(ctx, at); err != nil {
			return 0, err
		}
	}
	lead := p.lead
	if p.spun > 0 {
		lead = min(pacingLead, maxSpin-p.spun)
	}
	p.sleep(at - int64(lead))
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	begin := monotonic()
	now = begin
	for at-p.stage.passage() > now {
		switch left := time.Duration(at - now); {
		case left > rehearseFrom:
			p.stage.warm()
		case left > rehearseTo:
			p.stage.play()
		}
		now = monotonic()
	}
	p.spun += time.Duration(now - begin)
	return now, nil
}

// pacingLead is the lead of the second and later shots: more than a wake-up
// takes of a processor that was busy just now.
const pacingLead = 100 * time.Microsecond

// sleep is clock_nanosleep(2) until an instant. The runtime does not hear of
// it, so that it has no part in the wake-up; its signals may interrupt it.
func (p *Launchpad) sleep(until int64) {
	p.request = unix.NsecToTimespec(until)
	for monotonic() < until {
		unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME,
			uintptr(unsafe.Pointer(&p.request)), 0, 0, 0)
	}
}

// launch is Connect with all that takes time done before. A failure is made
// into words by failure.
func (s *Socket) launch(to *sockaddr) (errno syscall.Errno, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == connecting {
		s.collect()
	}
	switch s.state {
	case connecting, established:
		return 0, false
	case closed:
		return 0, true
	}
	s.remote = *to
	return s.start(), false
}

func (a *aimed) failure(shot Shot) error {
	switch {
	case a.volley != nil:
		return a.volley.explain(a.errno)
	case a.over:
		return ErrClosed
	case a.errno != 0:
		return fmt.Errorf("connect %v to %v: %w", shot.Socket.local, shot.Remote, explain(a.errno))
	}
	return nil
}

// Close gives the thread back as it was, and unlocks the goroutine from it.
// Where the system does not take a privilege back the goroutine stays locked,
// so that the thread ends with it, and the error tells.
func (p *Launchpad) Close() error {
	if p.closed {
		return nil
	}
	p.closed = true
	err := p.thread.restore()
	p.speak()
	p.letSleep()
	if p.wake >= 0 {
		unix.Close(p.wake)
	}
	if err != nil {
		return fmt.Errorf("close launchpad: %w", err)
	}
	runtime.UnlockOSThread()
	return nil
}

// Launch is one launch from a Launchpad of its own.
func Launch(ctx context.Context, at int64, shots []Shot) (Launched, error) {
	p := NewLaunchpad(LaunchConfig{})
	fired, err := p.Launch(ctx, at, shots)
	return Launched{Shots: fired, Reached: p.Privileges()}, errors.Join(err, p.Close())
}

// base and origin tie Go's monotonic clock, which is read without a system
// call, to CLOCK_MONOTONIC, which it is on Linux up to a constant.
var base, origin = tieClocks()

// tieClocks takes the tightest of a few brackets; it is right to some 100 ns.
func tieClocks() (base time.Time, origin int64) {
	base = time.Now()
	width := time.Duration(1<<63 - 1)
	for range 8 {
		before := time.Since(base)
		var ts unix.Timespec
		if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
			return base, 0
		}
		if after := time.Since(base); after-before < width {
			width = after - before
			origin = ts.Nano() - int64(before+width/2)
		}
	}
	return base, origin
}

func monotonic() int64 { return origin + int64(time.Since(base)) }
