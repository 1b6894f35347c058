package timing

import (
	"net"
	"time"
)

// exchange is one request and its reply on a UDP socket, timed on the
// monotonic clock. It stands between beevik/ntp and the socket: the library
// asks now for T1 before it writes and for T4 after it has read.
type exchange struct {
	*net.UDPConn
	clock   *Clock
	before  reading       // of both clocks, ahead of the request
	arrived Instant       // of the reply; 0 until then
	width   time.Duration // how far arrived may be off
}

func newExchange(conn *net.UDPConn, clock *Clock) *exchange {
	stampArrivals(conn)
	return &exchange{UDPConn: conn, clock: clock, before: readClocks()}
}

func (x *exchange) now() time.Time {
	if x.arrived != 0 {
		return x.clock.At(x.arrived)
	}
	return x.clock.Now()
}

// Read notes when the message arrived: when the kernel says, if it says so and
// the wall clock, which the kernel uses, was not set meanwhile.
func (x *exchange) Read(b []byte) (int, error) {
	n, stamp, err := readStamped(x.UDPConn, b)
	if err != nil {
		return n, err
	}
	after := readClocks()
	x.arrived, x.width = after.mono, 0
	if age := after.wall.Sub(stamp); !stamp.IsZero() && age >= 0 && age <= after.mono.Sub(x.before.mono) && !moved(x.before, after) {
		x.arrived, x.width = after.mono.Add(-age), after.width
	}
	return n, nil
}

// moved reports whether the wall clock was set between two readings, as far as
// they can tell.
func moved(a, b reading) bool {
	return (b.wall.Sub(a.wall) - b.mono.Sub(a.mono)).Abs() > a.width+b.width
}
