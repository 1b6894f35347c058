package rawsock

// Rejection is an ICMP error that ended, or troubled, an open.
type Rejection struct {
	Type, Code uint8 // of RFC 792, or of RFC 4443 where the socket is one of IPv6
}
