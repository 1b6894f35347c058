// Package netlabtest gives tests network namespaces: it re-executes the test
// binary where it holds the capabilities it needs and where nothing it does can
// touch the machine's own network, and it skips with the true reason where that
// is impossible.
//
// A test package calls [Main] from its TestMain and [Require] or [Pair] from
// each test that needs a kernel. Read the package netlab for what can be built.
package netlabtest

import (
	"net/netip"
	"os"
	"testing"

	"tcppunch/rawsock/netlab"
)

// Addresses of the two namespaces of Pair.
var (
	A4 = netip.MustParseAddr("198.51.100.1")
	B4 = netip.MustParseAddr("198.51.100.2")
	A6 = netip.MustParseAddr("2001:db8::1")
	B6 = netip.MustParseAddr("2001:db8::2")
)

// Link is the name of the device in either namespace of Pair.
const Link = "eth0"

// missing is why namespaces cannot be had here; empty when they can.
var missing = "netlabtest.Main was not called from TestMain"

// root is whether root started the tests.
var root bool

// Main runs the tests of m in namespaces of their own, and does not return. An
// ordinary user gets a user namespace and is root inside. Where that is
// impossible the tests run all the same, and Require tells why they skip.
func Main(m *testing.M) { os.Exit(run(m)) }

// Missing returns why namespaces cannot be had, or "" when they can.
func Missing() string { return missing }

// Root tells whether root started the tests; inside, everyone is root.
func Root() bool { return root }

// Require skips the test where namespaces cannot be had, saying what is
// missing. With TCPPUNCH_TEST=require-lab it fails instead.
func Require(t testing.TB) {
	t.Helper()
	switch {
	case missing == "":
	case os.Getenv("TCPPUNCH_TEST") == "require-lab":
		t.Fatalf("TCPPUNCH_TEST=require-lab, but %s", missing)
	default:
		t.Skip(missing)
	}
}

// Pair returns two namespaces joined by a cable between their links eth0, with
// the addresses A4/24 and A6/64, B4/24 and B6/64. They end with the test.
func Pair(t testing.TB) (a, b *netlab.Namespace, addrA, addrB netip.Addr) {
	t.Helper()
	a, b = Namespace(t, "a"), Namespace(t, "b")
	if err := netlab.Veth(a, Link, b, Link); err != nil {
		t.Fatal(err)
	}
	address(t, a, A4, A6)
	address(t, b, B4, B6)
	return a, b, A4, B4
}

// Namespace returns a namespace that ends with the test.
func Namespace(t testing.TB, name string) *netlab.Namespace {
	t.Helper()
	Require(t)
	n, err := netlab.New(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close namespace %s: %v", name, err)
		}
	})
	return n
}

func address(t testing.TB, n *netlab.Namespace, v4, v6 netip.Addr) {
	t.Helper()
	for _, p := range []netip.Prefix{netip.PrefixFrom(v4, 24), netip.PrefixFrom(v6, 64)} {
		if err := n.AddAddress(Link, p); err != nil {
			t.Fatal(err)
		}
	}
}
