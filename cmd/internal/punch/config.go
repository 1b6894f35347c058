package punch

import (
	"context"
	"net"
	"net/netip"
	"time"

	"tcppunch/captures"
	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/timing"
)

// Network is the socket layer that a meeting needs.
type Network interface {
	// Dial opens an ordinary connection from a fixed local port, which other
	// sockets may share.
	Dial(ctx context.Context, local, remote netip.AddrPort) (net.Conn, error)
	// Open prepares an active open from a fixed local port. ttl and minTTL are
	// IP_TTL and IP_MINTTL; 0 leaves the system's default.
	Open(local netip.AddrPort, o SocketOptions) (Socket, error)
	// Launchpad prepares the calling goroutine's thread for instants. It spins
	// for lead before each.
	Launchpad(lead time.Duration) Launchpad
	// Opening says how a crafted SYN towards an address would look, with a number
	// chosen at random. The error is for a host that may not craft.
	Opening(towards netip.Addr) (rendezvous.Opening, error)
	// Craft prepares an active open that crafts its handshake.
	Craft(local, remote netip.AddrPort, c Craft) (Socket, error)
	// Fake prepares one SYN that stands for no connection; Peer does not count.
	Fake(local, remote netip.AddrPort, c Craft) (Socket, error)
	// Listen takes connections at a port that other sockets share.
	Listen(local netip.AddrPort) (net.Listener, error)
	// Hop sends one SYN to remote, from a port of its own, and says which router
	// told that its TTL ran out; an invalid address where remote answered.
	Hop(ctx context.Context, local netip.Addr, remote netip.AddrPort, ttl int) (from netip.Addr, err error)
	// Tap captures the TCP and ICMP packets between local ports and the peer's
	// addresses from now on.
	Tap(local []netip.AddrPort, peer []netip.Addr) (Tap, error)
}

// SocketOptions are what a punch asks of its sockets. Zero is the default.
type SocketOptions struct {
	TTL, MinTTL int // IP_TTL and IP_MINTTL, or their IPv6 twins
	SYNCount    int // retransmissions of one SYN (TCP_SYNCNT), of which kernels make some more
	// ISN is the initial sequence number of the first SYN; 0 leaves it to the
	// kernel. It takes what Network.Opening found to be allowed.
	ISN uint32
}

// Craft is what both SYNs of a crafted handshake say.
type Craft struct {
	TTL       int // of the SYN alone
	Own, Peer *rendezvous.Opening
}

// Socket is one active open. Connect makes one SYN leave; Wait blocks until
// the connection stands or its error wraps the system's error number.
type Socket interface {
	Local() netip.AddrPort
	Connect(remote netip.AddrPort) error
	Wait(ctx context.Context) error
	Established() bool // without waiting
	Set(SocketOptions) error
	Conn() (net.Conn, error)
	SYNs() (called, retransmitted int)
	Close() error
}

// Launchpad is a thread that wakes up at an instant. It belongs to the goroutine
// that got it, which must close it.
type Launchpad interface {
	// Launch lets one SYN of each shot leave at an instant, as precisely as the
	// system allows. The error is that of ctx; each shot has its own.
	Launch(ctx context.Context, at timing.Instant, shots []Shot) ([]Fired, error)
	// Glance waits for a moment, at most milliseconds, for a SYN of the last
	// Launch to have made a connection, and says when one had; 0 for none.
	Glance() timing.Instant
	// Step says how far the system let the thread be prepared.
	Step() string
	Close() error
}

// Shot is one SYN that is to leave.
type Shot struct {
	Socket Socket
	Remote netip.AddrPort
}

// Fired is what became of a Shot.
type Fired struct {
	Called timing.Instant // when the SYN was to leave: connect() was called some microseconds before
	Err    error          // nil: the SYN left
}

// Tap is a running capture. Stop ends it and gives what it holds.
type Tap interface {
	Stop() Capture
}

// Capture is what a Tap took: whole headers, in the order of time.
type Capture struct {
	Interface captures.Interface
	Packets   []captures.Packet
	Dropped   uint64
}

// Config says whom to meet, when and how. Fields without a remark are needed.
type Config struct {
	Name     string // this peer's name at the coordinator
	Peer     string
	PeerKey  rendezvous.KeyID // the key that the peer must prove; empty accepts the first
	Identity *rendezvous.Identity
	Wish     rendezvous.Wish
	Clock    *timing.Clock
	Network  Network

	Coordinator rendezvous.Address

	Transport rendezvous.Transport // empty: TCP; UDP is a control for experiments, and leaves no connection
	LocalPort uint16               // 0: the system chooses
	Cache     timing.Cache         // of what public time servers said; the zero value keeps nothing
	NTP       []string             // time servers; empty: those that the coordinator names
	NoSync    bool                 // for experiments: trust the clock as it is
	Samples   int                  // exchanges with each time server
	Strategy  rendezvous.Strategy  // empty: Auto
	Escalate  bool                 // go on to the low-ttl round where simopen has not connected
	Budget    int                  // SYNs that may leave, retransmissions included
	LowTTL    int                  // of SYNs that are to die between the NATs; 0: what the routers tell
	Retries   int                  // further connect() calls after refusals
	Patience  time.Duration        // how long to wait for the peer
	Timeout   time.Duration        // how long to try after the instant
	Late      time.Duration        // for experiments: launch this much after the instant
	Residual  time.Duration        // for experiments: an error of the clock comparison, stated in its bounds
	Disturb   timing.Disturbance   // for experiments: happens between the agreement and the launch
	MinTTL    bool                 // this host can tell segments apart by their TTL
	OnLink    []netip.Prefix
	Ready     func(net.Conn) // optional: called with the connection at once, before the meeting is explained; must not block
	Trace     func(Event)    // optional: called for each step, not concurrently
}

// Event is one step of a meeting, as it happens.
type Event struct {
	At    time.Time `json:"at"`    // by the local clock
	Phase Phase     `json:"phase"` // which of the six phases
	Text  string    `json:"text"`  // one sentence
}

// Phase is one of the six phases of a meeting.
type Phase string

// The phases in their order.
const (
	Sync     Phase = "sync"
	Agree    Phase = "agree"
	Predict  Phase = "predict"
	Launch   Phase = "launch"
	Nominate Phase = "nominate"
	Explain  Phase = "explain"
)
