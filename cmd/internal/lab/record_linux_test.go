package lab

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"tcppunch/rawsock/netlab"
	"tcppunch/rawsock/netlab/netlabtest"
	"tcppunch/timing"
	"tcppunch/timing/timingtest"
)

// recordVariable is the file that TestRecordExchangesThroughKernels makes.
const recordVariable = "TCPPUNCH_RECORD_TIMES"

// What is recorded: pairs of clients with four servers each, of which one lies
// by a second, 32 exchanges with each, over paths of 8 to 40 ms with a
// standard deviation of the asymmetry of 4.5 % of the round trip. Kernels,
// sockets, NTP messages and a core with jitter are real.
const (
	recordPairs     = 100
	recordServers   = 4
	recordExchanges = 32
	recordSeed      = 32
)

// TestRecordExchangesThroughKernels makes timing/testdata/kernel.jsonl.gz:
//
//	TCPPUNCH_RECORD_TIMES=$PWD/timing/testdata/kernel.jsonl.gz go test ./cmd/internal/lab -run RecordExchanges
//
// It takes two minutes. Both clients of a pair are this process with another injected
// error each, so that the truth is known exactly. The servers claim what
// their replies cost in either direction.
func TestRecordExchangesThroughKernels(t *testing.T) {
	file := os.Getenv(recordVariable)
	if file == "" {
		t.Skipf("records only with %s=FILE", recordVariable)
	}
	network := newRecordNetwork(t)
	r := rand.New(rand.NewPCG(recordSeed, 0))
	var list []timingtest.Recording
	for i := range recordPairs {
		pair, err := network.pair(t.Context(), r)
		if err != nil {
			t.Fatalf("pair %d: %v", i, err)
		}
		list = append(list, pair)
	}
	if err := timingtest.WriteRecordings(file, list); err != nil {
		t.Fatal(err)
	}
}

// recordNetwork is this process's namespace and that of the servers.
type recordNetwork struct {
	servers *netlab.Namespace
	core    *netlab.Core
}

var recordClient, recordServer = netip.MustParsePrefix("198.51.100.1/32"), netip.MustParsePrefix("203.0.113.1/32")

func newRecordNetwork(t *testing.T) recordNetwork {
	n := recordNetwork{servers: netlabtest.Namespace(t, "servers")}
	clients, err := netlab.Current()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { clients.Close() })
	if n.core, err = netlab.NewCore(netlab.CoreConfig{Seed: recordSeed}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.core.Close() })
	link := netlab.Link{Delay: time.Millisecond, Jitter: time.Millisecond}
	for _, p := range []netlab.PortConfig{
		{Namespace: clients, Name: "clients0", Addresses: []netip.Prefix{recordClient}, Link: link},
		{Namespace: n.servers, Name: "servers0", Addresses: []netip.Prefix{recordServer}, Link: link},
	} {
		if err := n.core.Attach(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.core.Start(); err != nil {
		t.Fatal(err)
	}
	return n
}

// pair measures one pair.
func (n recordNetwork) pair(ctx context.Context, r *rand.Rand) (timingtest.Recording, error) {
	rec := timingtest.Recording{Network: "kernels", A: make([]timingtest.Exchanges, recordServers), B: make([]timingtest.Exchanges, recordServers)}
	errA, errB := time.Duration(r.NormFloat64()*1e9), time.Duration(r.NormFloat64()*1e9)
	a, b := timing.NewClock(errA, 0), timing.NewClock(errB, 0)
	i := timing.Now() // the injected errors, and what the two readings of the wall clock differ by
	rec.Difference = b.At(i).Sub(a.At(i))
	var all sync.WaitGroup
	errs := make(chan error, 2*recordServers)
	var sum, weights float64
	for s := range recordServers {
		own := time.Duration(r.NormFloat64() * 1e6)
		pathA, pathB := drawPath(r), drawPath(r)
		pathA.Offset, pathB.Offset = own, own
		if s == recordServers-1 {
			pathA.Offset, pathB.Offset = own+time.Second, own+time.Second
		} else {
			w := 1 / (math.Pow(float64(pathA.RequestDelay+pathA.ReplyDelay), 2) + math.Pow(float64(pathB.RequestDelay+pathB.ReplyDelay), 2))
			sum += w * float64((pathA.RequestDelay-pathA.ReplyDelay)/2-(pathB.RequestDelay-pathB.ReplyDelay)/2)
			weights += w
		}
		name := fmt.Sprintf("server %d", s)
		all.Go(func() { errs <- n.ask(ctx, pathA, a, name, &rec.A[s]) })
		all.Go(func() { errs <- n.ask(ctx, pathB, b, name, &rec.B[s]) })
	}
	all.Wait()
	close(errs)
	rec.Limit = time.Duration(sum / weights).Abs()
	for err := range errs {
		if err != nil {
			return rec, err
		}
	}
	return rec, nil
}

// drawPath draws a server's path to one client, the core's share left out.
func drawPath(r *rand.Rand) *timingtest.Server {
	round := 6*time.Millisecond + time.Duration(r.Float64()*32e6)
	shift := time.Duration(max(-.4, min(r.NormFloat64()*.045, .4)) * float64(round))
	return &timingtest.Server{RequestDelay: round/2 + shift, ReplyDelay: round/2 - shift, RootDispersion: time.Millisecond}
}

// ask runs a server and makes the exchanges of one client with it.
func (n recordNetwork) ask(ctx context.Context, server *timingtest.Server, clock *timing.Clock, name string, x *timingtest.Exchanges) error {
	var conn net.PacketConn
	err := n.servers.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", netip.AddrPortFrom(recordServer.Addr(), 0).String())
		return err
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(ctx, conn) })
	defer serving.Wait()
	defer cancel()
	source := timing.NTP(conn.LocalAddr().String(), clock)
	x.Server = name
	var first time.Time
	for range recordExchanges {
		s, err := source.Sample(ctx)
		if err != nil {
			return err
		}
		if first.IsZero() {
			first = s.T1
		}
		x.Dispersion, x.Stamped = s.RootDispersion, s.Stamped
		x.Samples = append(x.Samples, [3]int64{s.T1.Sub(first).Microseconds(), s.T2.Sub(s.T1).Microseconds(), s.T4.Sub(s.T3).Microseconds()})
	}
	return nil
}
