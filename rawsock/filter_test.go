package rawsock

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

// Packets from the IP header on; ports are 7001 (0x1b59) and 7002 (0x1b5a).
var filterPackets = map[string]string{
	"tcp4":          "45000028 00010000 40060000 c6336401 c6336402 1b591b5a 00000000 00000000 50020000 00000000",
	"tcp4-options":  "4600002c 00010000 40060000 c6336401 c6336402 01010101 1b591b5a 00000000 00000000 50020000 00000000",
	"tcp4-fragment": "45000028 00010008 40060000 c6336401 c6336402 1b591b5a 00000000 00000000 50020000 00000000",
	"udp4":          "4500001c 00010000 40110000 c6336401 c6336402 1b591b5a 00080000",
	"icmp4-error":   "45000038 00010000 40010000 cb007101 cb007102 0b000000 00000000 45000028 00010000",
	"icmp4-unreach": "46000038 00010000 40010000 cb007101 cb007102 01010101 03030000 00000000 45000028 00010000",
	"icmp4-echo":    "4500001c 00010000 40010000 c6336401 c6336402 08000000 00000000",
	"icmp4-answer":  "4500001c 00010000 40010000 c6336401 c6336402 00000000 00000000",
	"tcp6":          "60000000 00140640 20010db8000000000000000000000001 20010db8000000000000000000000002 1b591b5a 00000000 00000000 50020000 00000000",
	"icmp6-error":   "60000000 00083a40 20010db80000000000000000000000aa 20010db8000000000000000000000002 03000000 00000000",
	"icmp6-echo":    "60000000 00083a40 20010db8000000000000000000000001 20010db8000000000000000000000002 80000000 00000000",
	"udp6":          "60000000 00081140 20010db8000000000000000000000001 20010db8000000000000000000000002 1b591b5a 00080000",
}

func TestFilterLetsThroughTheFlowAndICMPErrors(t *testing.T) {
	const errors = "icmp4-error icmp4-unreach icmp6-error"
	for _, test := range []struct {
		host string
		port uint16
		want string
	}{
		{"", 7001, "tcp4 tcp4-options tcp6 " + errors},
		{"", 7002, "tcp4 tcp4-options tcp6 " + errors},
		{"", 7003, errors},
		{"198.51.100.1", 0, "tcp4 tcp4-options tcp4-fragment " + errors},
		{"198.51.100.2", 7001, "tcp4 tcp4-options " + errors},
		{"198.51.100.3", 7001, errors},
		{"2001:db8::1", 0, "tcp6 " + errors},
		{"2001:db8::2", 7002, "tcp6 " + errors},
		{"2001:db8::3", 7002, errors},
		{"", 0, "tcp4 tcp4-options tcp4-fragment udp4 icmp4-echo icmp4-answer tcp6 icmp6-echo udp6 " + errors},
	} {
		for _, ethernet := range []bool{true, false} {
			vm := assembleFilter(t, test.host, test.port, ethernet)
			for name, packet := range filterPackets {
				want := 0
				if strings.Contains(" "+test.want+" ", " "+name+" ") {
					want = 96
				}
				if got, err := vm.Run(packetBytes(t, packet, ethernet)); err != nil || got != want {
					t.Errorf("host %q port %d ethernet %v: %s: kept %d bytes, %v, want %d", test.host, test.port, ethernet, name, got, err, want)
				}
			}
		}
	}
}

func assembleFilter(t *testing.T, host string, port uint16, ethernet bool) *bpf.VM {
	t.Helper()
	var addr netip.Addr
	if host != "" {
		addr = netip.MustParseAddr(host)
	}
	var ports []uint16
	if port != 0 {
		ports = []uint16{9, port} // the first is touched by nothing
	}
	raw, err := flowFilter(addr, ports, ethernet, 96)
	if err != nil {
		t.Fatal(err)
	}
	list, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the filter holds an unknown instruction")
	}
	vm, err := bpf.NewVM(list)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func packetBytes(t *testing.T, packet string, ethernet bool) []byte {
	t.Helper()
	link := ""
	if ethernet && packet[0] == '4' {
		link = "0202020202020404040404040800"
	} else if ethernet {
		link = "02020202020204040404040486dd"
	}
	b, err := hex.DecodeString(link + strings.ReplaceAll(packet, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFilterOnEthernetRejectsOtherProtocols(t *testing.T) {
	vm := assembleFilter(t, "", 7001, true)
	arp := packetBytes(t, filterPackets["tcp4"], true)
	arp[13] = 0x06
	if got, err := vm.Run(arp); err != nil || got != 0 {
		t.Errorf("ARP: kept %d bytes, %v, want 0", got, err)
	}
}
