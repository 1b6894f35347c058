package lab

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"tcppunch/rawsock"
	"tcppunch/rawsock/netlab"
)

func TestBenchLaunchMeasuresEveryVariantInEachCondition(t *testing.T) {
	status, out, said := run(t, "", "lab", "bench", "launch", "--launches", "10", "--busy", "1", "--json")
	var d BenchDocument
	if err := json.Unmarshal([]byte(out), &d); status != 0 || err != nil {
		t.Fatalf("status %d, %v: %s%s", status, err, out, said)
	}
	if len(d.Conditions) != 2 || d.Conditions[0].Busy != 0 || d.Conditions[1].Busy != 1 {
		t.Fatalf("got conditions %+v, want idle and beside one busy process", d.Conditions)
	}
	for _, c := range d.Conditions {
		for i, r := range c.Variants {
			if r.Variant != BenchVariants[i] || r.Missed > d.Launches || r.Lateness.P50 == nil {
				t.Errorf("beside %d: got %+v, want %s measured", c.Busy, r, BenchVariants[i])
				continue
			}
			if *r.Lateness.P50 < 0 {
				t.Errorf("beside %d: %s left %d ns before the instant", c.Busy, r.Variant, -*r.Lateness.P50)
			}
		}
	}
	idle := d.Conditions[0].Variants
	if p := privileges(t, idle[3]); p.FIFO && *idle[3].Lateness.P50 > *idle[0].Lateness.P50 {
		t.Errorf("idle, in real time: p50 %d ns, later than the %d ns of a timer", *idle[3].Lateness.P50, *idle[0].Lateness.P50)
	}
}

func privileges(t *testing.T, r BenchResult) (p rawsock.Privileges) {
	t.Helper()
	if err := json.Unmarshal(r.Privileges, &p); err != nil || p.Step == rawsock.StepUnknown {
		t.Errorf("%s: privileges %s, %v", r.Variant, r.Privileges, err)
	}
	return p
}

func TestPreparedBurstIsFasterThanAnUnpreparedOne(t *testing.T) {
	status, out, said := run(t, "", "lab", "bench", "burst", "--syns", "200", "--rounds", "15", "--json")
	var d BurstDocument
	if err := json.Unmarshal([]byte(out), &d); status != 0 || err != nil {
		t.Fatalf("status %d, %v: %s%s", status, err, out, said)
	}
	for _, v := range BurstVariants {
		if len(d.Elapsed[v]) != 15 {
			t.Errorf("%s: got %d bursts, want 15", v, len(d.Elapsed[v]))
		}
	}
	if d.UnpreparedToPrepared < 1.2 {
		t.Errorf("unprepared takes %.2f times as long as prepared, want clearly more", d.UnpreparedToPrepared)
	}
}

func TestCraftedSYNIsOne(t *testing.T) {
	from, to := netip.MustParseAddrPort("198.51.100.1:20001"), netip.MustParseAddrPort("203.0.113.1:7000")
	sent := craftSYN(from, to, 77)
	p := gopacket.NewPacket(sent[:], layers.LayerTypeIPv4, gopacket.Default)
	ip, _ := p.NetworkLayer().(*layers.IPv4)
	tcp, _ := p.TransportLayer().(*layers.TCP)
	if tcp == nil || !tcp.SYN || tcp.ACK || tcp.Seq != 77 || tcp.SrcPort != 20001 || len(tcp.Options) != 5 {
		t.Fatalf("got %v", p)
	}
	claimed := tcp.Checksum
	tcp.SetNetworkLayerForChecksum(ip)
	again := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(again, gopacket.SerializeOptions{ComputeChecksums: true}, tcp); err != nil {
		t.Fatal(err)
	}
	if tcp.Checksum != claimed {
		t.Errorf("got checksum %#04x, want %#04x", claimed, tcp.Checksum)
	}
}

func TestPeersOnOneHostMeetWithTwoSYNs(t *testing.T) {
	status, out, said := run(t, "", "lab", "bench", "same-host", "--meetings", "5", "--json")
	var d SameHostDocument
	if err := json.Unmarshal([]byte(out), &d); status != 0 || err != nil {
		t.Fatalf("status %d, %v: %s%s", status, err, out, said)
	}
	if d.Connected != 5 || d.SYNs.P50 == nil || *d.SYNs.P50 != 2 {
		t.Errorf("got %d of 5 connected, with %v SYNs in the median, causes %v; want all, with 2", d.Connected, d.SYNs.P50, d.Causes)
	}
	if d.AfterLast.P50 == nil || *d.AfterLast.P50 <= 0 {
		t.Errorf("got established %v ns after the later launch, want later than it", d.AfterLast.P50)
	}
}

func TestBenchEmulatorMeasuresDelayAndThroughput(t *testing.T) {
	status, out, said := run(t, "", "lab", "bench", "emulator", "--packets", "50", "--burst", "2000", "--busy", "1", "--delay", "5ms", "--device", "packet", "--json")
	var d EmulatorDocument
	if err := json.Unmarshal([]byte(out), &d); status != 0 || err != nil {
		t.Fatalf("status %d, %v: %s%s", status, err, out, said)
	}
	if d.Device != netlab.Packet || len(d.Conditions) != 2 || len(d.Throughput) != 3 {
		t.Fatalf("got %+v, want packet sockets, two conditions and three numbers of boxes", d)
	}
	for _, c := range d.Conditions {
		if c.Packets != 50 || c.Missing != 0 || c.Error.P50 == nil || *c.Error.P50 < 0 || c.Lateness.P50 == nil {
			t.Errorf("beside %d: got %+v, want 50 packets, none early", c.Busy, c)
		}
	}
	for i, r := range d.Throughput {
		if r.Boxes != i || r.Packets != 2000 || r.Dropped != 0 || r.PerSecond <= 0 || r.PerCPUSecond < r.PerSecond {
			t.Errorf("got %+v, want %d boxes and 2000 packets, in less time of the processor than of the clock", r, i)
		}
	}
}

func TestCraftedBurstsKeepUpWithALoopInC(t *testing.T) {
	status, out, said := run(t, "", "lab", "bench", "craft", "--syns", "2000", "--rounds", "10", "--launches", "5", "--json")
	var d CraftDocument
	if err := json.Unmarshal([]byte(out), &d); status != 0 || err != nil {
		t.Fatalf("status %d, %v: %s%s", status, err, out, said)
	}
	for _, v := range CraftVariants {
		if v == "c" && d.Compiler == nil {
			continue
		}
		if len(d.Elapsed[v]) != 10 || d.Rate[v] <= 0 {
			t.Errorf("%s: got %d bursts and %.0f SYNs a second, want 10", v, len(d.Elapsed[v]), d.Rate[v])
		}
	}
	// Half as much would be a fault of ours; what is in between is the machine's.
	for v, share := range d.Share {
		if share < 0.5 {
			t.Errorf("crafted SYNs leave at %.2f of the rate of %s", share, v)
		}
	}
	for _, v := range []string{"connect", "crafted"} {
		if d.Late[v].P50 == nil || len(d.Apart[v]) != 5 {
			t.Errorf("%s: got %+v, want 5 SYNs at the tap", v, d.Apart[v])
		}
	}
}
