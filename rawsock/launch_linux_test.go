package rawsock

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcppunch/rawsock/netlab"
	"tcppunch/rawsock/netlab/netlabtest"
)

// scheduling is all that a Launchpad may change.
type scheduling struct {
	attr    unix.SchedAttr
	slack   int
	percent int
	locked  bool
}

func schedulingNow(t testing.TB) scheduling {
	t.Helper()
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	percent := debug.SetGCPercent(100)
	debug.SetGCPercent(percent)
	return scheduling{*attr, slack, percent, memoryIsLocked()}
}

// salvo is a launch of n sockets at a remote that answers nothing.
func salvo(t testing.TB, n int, pace time.Duration) (shots []Shot, tap *Tap) {
	t.Helper()
	nsA, _, addrA, addrB := netlabtest.Pair(t)
	tap = tapIn(t, nsA, TapConfig{Interface: netlabtest.Link, Ports: []uint16{7000}})
	for i := range n {
		s := openIn(t, nsA, netip.AddrPortFrom(addrA, uint16(20000+i)), Options{})
		shots = append(shots, Shot{Socket: s, Remote: netip.AddrPortFrom(addrB, 7000), After: time.Duration(i) * pace})
	}
	return shots, tap
}

func ahead(d time.Duration) int64 { return monotonic() + int64(d) }

func TestLaunchLeavesNothingBehind(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, limit := range []Step{StepSpin, StepNice, StepUnknown} {
		shots, _ := salvo(t, 1, 0)
		before := schedulingNow(t)
		pad := NewLaunchpad(LaunchConfig{Limit: limit})
		if _, err := pad.Launch(t.Context(), ahead(20*time.Millisecond), shots); err != nil {
			t.Fatal(err)
		}
		if during := schedulingNow(t); during == before {
			t.Errorf("limit %v: nothing differs during a launch from %+v", limit, before)
		}
		reached := pad.Privileges()
		if err := pad.Close(); err != nil {
			t.Fatal(err)
		}
		awaitRest(t)
		if after := schedulingNow(t); after != before {
			t.Errorf("limit %v, reached %+v: got %+v afterwards, want %+v as before", limit, reached, after, before)
		}
	}
}

// awaitRest waits until the memory lock and the collector's rest have ended,
// which linger after a launch.
func awaitRest(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(10 * lockLingers); lingering(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the launch lingers after %v", 10*lockLingers)
		}
	}
}

func lingering() bool {
	for _, s := range []*shared{&memory, &collector} {
		s.Lock()
		busy := s.linger != nil
		s.Unlock()
		if busy {
			return true
		}
	}
	return false
}

func TestLaunchReachesWhatTheSystemGrants(t *testing.T) {
	netlabtest.Require(t)
	may := netlabtest.Root() && mayRealTime()
	for _, c := range []struct {
		limit, privileged Step
	}{{StepUnknown, StepRealTime}, {StepRealTime, StepRealTime}, {StepNice, StepNice}, {StepSpin, StepSpin}} {
		pad := NewLaunchpad(LaunchConfig{Limit: c.limit})
		got := pad.Privileges()
		pad.Close()
		want := c.privileged
		if !may {
			want = StepSpin
		}
		if got.Step != want && (may || got.Step > c.privileged) {
			t.Errorf("limit %v: got %+v, want %v", c.limit, got, want)
		}
		if got.FIFO != (got.Step == StepRealTime) {
			t.Errorf("limit %v: got %+v, where FIFO contradicts the step", c.limit, got)
		}
	}
}

// mayRealTime asks for real time on a thread that then ends.
func mayRealTime() bool {
	result := make(chan bool)
	go func() {
		runtime.LockOSThread()
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
		result <- unix.SchedSetAttr(0, &attr, 0) == nil
	}()
	return <-result
}

func TestLaunchDegradesToSpinningForAnOrdinaryUser(t *testing.T) {
	shots, _ := salvo(t, 1, 0)
	var launched Launched
	var before, after scheduling
	ns := mustCurrent(t)
	err := withoutCapabilities(ns, func() (err error) {
		before = schedulingNow(t)
		launched, err = Launch(t.Context(), ahead(10*time.Millisecond), shots)
		after = schedulingNow(t)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	got := launched.Reached
	if limits := (unix.Rlimit{}); unix.Getrlimit(unix.RLIMIT_RTPRIO, &limits) == nil && limits.Cur == 0 && (got.FIFO || got.Step == StepUnknown) {
		t.Errorf("got %+v without capabilities, want to spin", got)
	}
	if after.attr != before.attr || after.slack != before.slack {
		t.Errorf("got %+v afterwards, want %+v as before", after, before)
	}
	if f := launched.Shots[0]; f.Err != nil || f.Before == 0 {
		t.Errorf("got %+v, want a connect() all the same", f)
	}
}

func mustCurrent(t testing.TB) *netlab.Namespace {
	t.Helper()
	n, err := netlab.Current()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func TestLaunchConnectsAtTheInstantAndNotBefore(t *testing.T) {
	const launches = 15
	var late []time.Duration
	for i := range launches {
		shots, _ := salvo(t, 1, 0)
		at := ahead(time.Duration(i) * 3 * time.Millisecond) // from no wait to all kinds of sleep
		launched, err := Launch(t.Context(), at, shots)
		if err != nil {
			t.Fatal(err)
		}
		f := launched.Shots[0]
		if f.Err != nil || f.Before+f.Ahead < at || f.After < f.Before {
			t.Fatalf("got %+v, want a connect() at %d less what lies ahead, or later", f, at)
		}
		if f.Ahead < 0 || f.Ahead > longestPassage {
			t.Fatalf("got %d ns ahead, want 0 to %d", f.Ahead, longestPassage)
		}
		late = append(late, time.Duration(f.Before+f.Ahead-at))
	}
	slices.Sort(late)
	// The machine may be busy: the median is checked, and not tightly.
	if median := late[launches/2]; median > 5*time.Millisecond {
		t.Errorf("late by %v in the median of %v", median, late)
	}
}

func TestPassageIsTheMedianOfTheLatestRehearsals(t *testing.T) {
	for _, test := range []struct {
		took  [3]int64
		plays int
		want  int64
	}{
		{[3]int64{6000, 7000, 8000}, 3, 0}, // the first play does not count
		{[3]int64{6000, 50000, 7000}, 4, 7000},
		{[3]int64{7000, 6000, 50000}, 9, 7000},
		{[3]int64{40000, 50000, 60000}, 4, longestPassage},
	} {
		r := rehearsal{ready: true, took: test.took, plays: test.plays}
		if got := r.passage(); got != test.want {
			t.Errorf("%v after %d plays: got %d, want %d", test.took, test.plays, got, test.want)
		}
	}
	if got := (&rehearsal{plays: 9, took: [3]int64{1, 1, 1}}).passage(); got != 0 {
		t.Errorf("without a rehearsal: got %d, want 0", got)
	}
}

func TestBurstLeavesInItsOrder(t *testing.T) {
	const n = 64
	shots, tap := salvo(t, n, 0)
	slices.Reverse(shots)
	launched, err := Launch(t.Context(), ahead(5*time.Millisecond), shots)
	if err != nil {
		t.Fatal(err)
	}
	for i, shot := range shots {
		got := await(t, tap, "a SYN", func(s segment) bool { return s.flags == syn })
		if got.source != shot.Socket.Local() {
			t.Fatalf("SYN %d: got %v, want %v", i, got.source, shot.Socket.Local())
		}
		if f := launched.Shots[i]; f.Err != nil || i > 0 && f.Before < launched.Shots[i-1].After {
			t.Errorf("shot %d: got %+v after %+v", i, f, launched.Shots[i-1])
		}
	}
}

func TestLargeBurstSendsEveryShotOnceAndTellsOfEach(t *testing.T) {
	const n = 2*spreadFrom + 1
	shots, tap := salvo(t, n, 0)
	at := ahead(30 * time.Millisecond)
	launched, err := Launch(t.Context(), at, shots)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[netip.AddrPort]int{}
	for range n {
		seen[await(t, tap, "a SYN", func(s segment) bool { return s.flags == syn }).source]++
	}
	for i, shot := range shots {
		if seen[shot.Socket.Local()] != 1 {
			t.Errorf("shot %d: got %d SYNs, want 1", i, seen[shot.Socket.Local()])
		}
		if f := launched.Shots[i]; f.Err != nil || f.Before+f.Ahead < at {
			t.Errorf("shot %d: got %+v, want a connect() from %d on", i, f, at)
		}
	}
}

func TestLargeBurstEndsWithItsContext(t *testing.T) {
	shots, _ := salvo(t, spreadFrom, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	launched, err := Launch(ctx, ahead(time.Minute), shots)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want %v", err, context.Canceled)
	}
	for i, f := range launched.Shots {
		if f.Before != 0 {
			t.Fatalf("shot %d: got %+v, want no connect()", i, f)
		}
	}
}

func TestPacedShotsWaitForTheirTurnAndBoundTheSpin(t *testing.T) {
	for _, pace := range []time.Duration{100 * time.Microsecond, 2 * time.Millisecond, 15 * time.Millisecond} {
		shots, _ := salvo(t, 8, pace)
		pad := NewLaunchpad(LaunchConfig{})
		at := ahead(5 * time.Millisecond)
		fired, err := pad.Launch(t.Context(), at, shots)
		pad.Close()
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range fired {
			if due := at + int64(shots[i].After); f.Before+f.Ahead < due {
				t.Errorf("pace %v: shot %d left %v early", pace, i, time.Duration(due-f.Before-f.Ahead))
			}
		}
		// An ordinary thread's spin may include the time for which others ran.
		if pad.thread.reached.FIFO && pad.spun > maxSpin+time.Millisecond {
			t.Errorf("pace %v: spun for %v, want at most %v", pace, pad.spun, maxSpin)
		}
	}
}

func TestRefusedSocketLaunchesAgainFromTheSamePad(t *testing.T) {
	shots, tap := salvo(t, 1, 0)
	pad := NewLaunchpad(LaunchConfig{})
	defer pad.Close()
	for try := range 4 {
		fired, err := pad.Launch(t.Context(), ahead(time.Millisecond), shots)
		if err != nil || fired[0].Err != nil {
			t.Fatalf("try %d: %v, %v", try, err, fired[0].Err)
		}
		await(t, tap, "the reset", func(s segment) bool { return s.flags&rst != 0 })
	}
	if called, _ := shots[0].Socket.SYNs(); called != 4 {
		t.Errorf("got %d SYNs, want one in each of 4 launches", called)
	}
}

func TestLaunchEndsWithItsContext(t *testing.T) {
	shots, _ := salvo(t, 1, 0)
	for _, wait := range []time.Duration{time.Hour, 25 * time.Millisecond, time.Millisecond} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		begin := time.Now()
		go func() {
			_, err := Launch(ctx, ahead(wait), shots)
			done <- err
		}()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%v ahead: got %v, want %v", wait, err, context.Canceled)
		}
		if d := time.Since(begin); d > time.Second {
			t.Errorf("%v ahead: cancellation took %v", wait, d)
		}
	}
	if called, _ := shots[0].Socket.SYNs(); called != 0 {
		t.Errorf("%d SYNs left after the context had ended", called)
	}
}

func TestLaunchTellsWhatBecameOfEachShot(t *testing.T) {
	shots, _ := salvo(t, 3, 0)
	shots[0].Socket.Close()
	shots[1].Remote = netip.MustParseAddrPort("203.0.113.1:7000") // no route
	launched, err := Launch(t.Context(), 0, shots)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []error{ErrClosed, ErrUnreachable, nil} {
		if got := launched.Shots[i].Err; !errors.Is(got, want) {
			t.Errorf("shot %d: got %v, want %v", i, got, want)
		}
	}
	slices.Reverse(shots)
	shots[0].After = time.Second
	if _, err := Launch(t.Context(), 0, shots); err == nil {
		t.Error("shots that are not in the order of their instants were launched")
	}
}

func TestLaunchAllocatesNothingAtTheInstant(t *testing.T) {
	shots, _ := salvo(t, 100, 0)
	pad := NewLaunchpad(LaunchConfig{})
	defer pad.Close()
	fired := make([]Fired, len(shots))
	if err := pad.aim(0, shots, fired); err != nil {
		t.Fatal(err)
	}
	got := testing.AllocsPerRun(5, func() {
		if err := pad.fire(t.Context(), fired); err != nil {
			t.Fatal(err)
		}
	})
	if got != 0 {
		t.Errorf("got %v allocations, want none", got)
	}
	if called, _ := shots[99].Socket.SYNs(); called == 0 {
		t.Error("the last shot was not fired")
	}
}

func TestConcurrentLaunchpadsShareTheCollector(t *testing.T) {
	awaitRest(t) // of the launches of other tests
	before := schedulingNow(t).percent
	first, second := make(chan struct{}), make(chan struct{})
	opened := make(chan struct{}, 2)
	done := make(chan error, 2)
	for _, leave := range []chan struct{}{first, second} {
		go func() {
			pad := NewLaunchpad(LaunchConfig{})
			pad.hush()
			opened <- struct{}{}
			<-leave
			done <- pad.Close()
		}()
	}
	<-opened
	<-opened
	for _, leave := range []chan struct{}{first, second} {
		if got := schedulingNow(t).percent; got != -1 {
			t.Errorf("got a GC percentage of %d while a launchpad is open, want -1", got)
		}
		close(leave)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	awaitRest(t)
	if got := schedulingNow(t).percent; got != before {
		t.Errorf("got a GC percentage of %d afterwards, want %d", got, before)
	}
}

func TestPrivilegesAreReadable(t *testing.T) {
	text, err := json.Marshal(Privileges{Step: StepNice, Nice: -20, TimerSlack: 1})
	want := `{"step":"nice","fifo":false,"nice":-20,"memory_locked":false,"processors_awake":false,"timer_slack_ns":1}`
	if err != nil || string(text) != want {
		t.Errorf("got %s, %v, want %s", text, err, want)
	}
	var back Privileges
	if err := json.Unmarshal(text, &back); err != nil || back.Step != StepNice {
		t.Errorf("got %+v, %v", back, err)
	}
}

func TestLaunchpadWorksOnOneProcessor(t *testing.T) {
	netlabtest.Require(t)
	shots, _ := salvo(t, 1, 0)
	var all, one unix.CPUSet
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.SchedGetaffinity(os.Getpid(), &all); err != nil {
		t.Fatal(err)
	}
	for cpu := range 1024 {
		if all.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	defer unix.SchedSetaffinity(0, &all)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	launched, err := Launch(t.Context(), ahead(30*time.Millisecond), shots)
	if err != nil || launched.Shots[0].Err != nil {
		t.Errorf("got %v, %v", err, launched.Shots)
	}
}
