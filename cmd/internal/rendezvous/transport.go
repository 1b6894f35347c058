package rendezvous

import "errors"

// Transport is what a meeting opens. The empty word stands for TCP.
type Transport string

// The transports. UDP is a control for experiments.
const (
	TCP Transport = "tcp"
	UDP Transport = "udp"
)

// ErrTransport means that the peers were told to meet over different
// transports.
var ErrTransport = errors.New("one peer meets over TCP, the other over UDP: give both the same --transport")

// datagrams says whether it is UDP.
func (t Transport) datagrams() bool { return t == UDP }
