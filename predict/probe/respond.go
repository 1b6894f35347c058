package probe

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

// Responder answers STUN Binding requests on accepted TCP connections. The
// zero value answers with sensible limits.
type Responder struct {
	Other     netip.AddrPort                             // OTHER-ADDRESS to name; not valid: none
	OnBinding func(username string, from netip.AddrPort) // called before each success response, if set
	Requests  int                                        // messages per connection; 0 means 16
	Idle      time.Duration                              // wait for the next message; 0 means a minute
}

// Serve answers on conn until the peer closes it, a limit is reached or the
// bytes are not STUN.
func (r Responder) Serve(conn net.Conn) error { return errors.ErrUnsupported }

// Respond serves conn with the default limits.
func Respond(conn net.Conn, other netip.AddrPort, onBinding func(username string, from netip.AddrPort)) error {
	return Responder{Other: other, OnBinding: onBinding}.Serve(conn)
}
