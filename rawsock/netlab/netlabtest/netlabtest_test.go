package netlabtest

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"tcppunch/rawsock/netlab"
)

func TestMain(m *testing.M) { Main(m) }

func TestPairConnectsByBothFamilies(t *testing.T) {
	a, b, _, addrB := Pair(t)
	for _, to := range []netip.Addr{addrB, B6} {
		l, err := listen(b, to)
		if err != nil {
			t.Fatal(err)
		}
		err = a.Do(func() error {
			c, err := net.Dial("tcp", l.Addr().String())
			if err == nil {
				c.Close()
			}
			return err
		})
		if err != nil {
			t.Errorf("dial %v: got %v, want a connection", to, err)
		}
		l.Close()
	}
}

func listen(n *netlab.Namespace, addr netip.Addr) (l net.Listener, err error) {
	err = n.Do(func() error {
		l, err = net.Listen("tcp", netip.AddrPortFrom(addr, 0).String())
		return err
	})
	return l, err
}

func TestTheHostNetworkIsNotVisible(t *testing.T) {
	Require(t)
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if len(links) != 1 || links[0].Name != "lo" {
		t.Errorf("got links %v, want lo only", links)
	}
}

func TestProcessIsTheFirstOfItsPidNamespace(t *testing.T) {
	Require(t)
	if got := os.Getpid(); got != 1 {
		t.Errorf("got pid %d, want 1", got)
	}
}
