package rendezvous

import (
	"net/netip"
	"testing"
)

func TestClassOfFollowsTheRegistries(t *testing.T) {
	tests := map[string]Class{
		"8.8.8.8": Global, "2606:4700::1": Global, "::ffff:8.8.8.8": Global, "64:ff9b::808:808": Global, "2002:808:808::1": Global,
		"10.1.2.3": Private, "172.31.0.1": Private, "192.168.0.1": Private, "fd00::1": Private, "::ffff:10.0.0.1": Private, "64:ff9b::a00:1": Private,
		"172.32.0.1": Global, "100.64.0.1": Shared, "100.128.0.1": Global,
		"192.0.2.1": Test, "198.51.100.1": Test, "203.0.113.1": Test, "198.18.0.1": Test, "2001:db8::1": Test, "3fff::1": Test,
		"127.0.0.1": Loopback, "::1": Loopback, "64:ff9b::7f00:1": Loopback, "2002:7f00:1::": Loopback,
		"0.1.2.3": Forbidden, "169.254.169.254": Forbidden, "224.0.0.1": Forbidden, "240.0.0.1": Forbidden, "255.255.255.255": Forbidden,
		"::": Forbidden, "fe80::1": Forbidden, "ff02::1": Forbidden, "2001::1": Forbidden, "64:ff9b:1::1": Forbidden, "192.88.99.1": Forbidden, "5f00::1": Forbidden,
	}
	for text, want := range tests {
		if got := ClassOf(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	for _, addr := range []netip.Addr{{}, netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("2606:4700::1%eth0")} {
		if got := ClassOf(addr); got != Forbidden {
			t.Errorf("%v is %s, want forbidden", addr, got)
		}
	}
}

func TestReflexiveAddressesFollowTheCoordinatorsClass(t *testing.T) {
	tests := []struct {
		coordinator, peer string
		allowed           bool
	}{
		{"192.0.2.10", "203.0.113.1", true},
		{"192.0.2.10", "8.8.8.8", true},
		{"8.8.8.8", "203.0.113.1", false},
		{"8.8.8.8", "10.0.0.1", false},
		{"10.0.0.9", "10.0.0.1", true},
		{"10.0.0.9", "127.0.0.1", false},
		{"127.0.0.1", "127.0.0.1", true},
		{"::1", "127.0.0.1", true},
		{"169.254.1.1", "169.254.1.2", false},
		{"2606:4700::1", "fd00::1", false},
	}
	for _, test := range tests {
		err := Policy{Coordinator: netip.MustParseAddr(test.coordinator)}.Reflexive(netip.MustParseAddr(test.peer))
		if (err == nil) != test.allowed {
			t.Errorf("coordinator %s, peer %s: got %v, want allowed %v", test.coordinator, test.peer, err, test.allowed)
		}
	}
}
