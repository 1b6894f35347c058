package probe

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
	"unicode/utf8"

	"github.com/pion/stun/v3"
)

// ErrTooManyRequests ends a connection that sent its share of messages.
var ErrTooManyRequests = errors.New("too many requests on one connection")

// Responder answers STUN Binding requests on accepted TCP connections. The
// zero value answers with sensible limits. It does not authenticate: USERNAME
// is reported, and credentials (MESSAGE-INTEGRITY) are refused as unknown.
type Responder struct {
	Other     netip.AddrPort                             // OTHER-ADDRESS to name; not valid: none
	OnBinding func(username string, from netip.AddrPort) // called before each success response, if set
	Software  string                                     // SOFTWARE to name; "" means tcppunch
	Requests  int                                        // messages per connection; 0 means 16
	Idle      time.Duration                              // wait for the next message, and for a write; 0 means a minute
}

// Respond serves conn with the default limits.
func Respond(conn net.Conn, other netip.AddrPort, onBinding func(username string, from netip.AddrPort)) error {
	return Responder{Other: other, OnBinding: onBinding}.Serve(conn)
}

// Serve answers on conn until the peer closes it (nil), stays silent for Idle
// (os.ErrDeadlineExceeded), uses up its requests (ErrTooManyRequests) or
// sends something else (ErrNotSTUN, ErrTooLong). The caller closes conn, also
// to stop Serve.
func (r Responder) Serve(conn net.Conn) error {
	from := endpoint(conn.RemoteAddr())
	if !from.IsValid() {
		return fmt.Errorf("serve STUN: %v is not a TCP address", conn.RemoteAddr())
	}
	for range cmp.Or(r.Requests, 16) {
		err := r.serveOne(conn, from)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("serve STUN: %w", err)
		}
	}
	return fmt.Errorf("serve STUN: %w", ErrTooManyRequests)
}

// serveOne reads a message and answers it. What is no Binding request is
// discarded in silence (RFC 8489 section 6.3).
func (r Responder) serveOne(conn net.Conn, from netip.AddrPort) error {
	if err := conn.SetDeadline(time.Now().Add(cmp.Or(r.Idle, time.Minute))); err != nil {
		return err
	}
	request, err := ReadMessage(conn)
	if err != nil || request.Type != stun.BindingRequest {
		return err
	}
	response, err := r.answer(request, from)
	if err != nil {
		return err
	}
	_, err = conn.Write(response.Raw)
	return err
}

// answer builds the response to a Binding request.
func (r Responder) answer(request *stun.Message, from netip.AddrPort) (*stun.Message, error) {
	software := stun.NewSoftware(cmp.Or(r.Software, "tcppunch"))
	if unknown := unknownRequired(request); len(unknown) > 0 {
		return stun.Build(request, bindingError, stun.CodeUnknownAttribute, unknown, software)
	}
	username, _ := request.Get(stun.AttrUsername)
	if len(username) > longestUsername || !utf8.Valid(username) {
		return stun.Build(request, bindingError, stun.CodeBadRequest, software)
	}
	if r.OnBinding != nil {
		r.OnBinding(string(username), from)
	}
	// MAPPED-ADDRESS too, so that the client can see whether a gateway on the
	// path rewrites addresses in what passes (RFC 8489 section 14.1).
	setters := []stun.Setter{request, stun.BindingSuccess,
		&stun.XORMappedAddress{IP: from.Addr().AsSlice(), Port: int(from.Port())},
		&stun.MappedAddress{IP: from.Addr().AsSlice(), Port: int(from.Port())}}
	if r.Other.IsValid() {
		setters = append(setters, &stun.OtherAddress{IP: r.Other.Addr().Unmap().AsSlice(), Port: int(r.Other.Port())})
	}
	return stun.Build(append(setters, software)...)
}

var bindingError = stun.NewType(stun.MethodBinding, stun.ClassErrorResponse)

// longestUsername in bytes: fewer than 509 (RFC 8489 section 14.3).
const longestUsername = 508

// unknownRequired lists, once each and at most 16, the comprehension-required
// attributes (below 0x8000, RFC 8489 section 14) that have no meaning here.
// CHANGE-REQUEST is among them: over TCP no other address can answer
// (RFC 5780 section 6.1).
func unknownRequired(m *stun.Message) stun.UnknownAttributes {
	var unknown stun.UnknownAttributes
	seen := map[stun.AttrType]bool{stun.AttrUsername: true, stun.AttrMappedAddress: true, stun.AttrXORMappedAddress: true}
	for _, a := range m.Attributes {
		if a.Type.Required() && !seen[a.Type] && len(unknown) < 16 {
			seen[a.Type] = true
			unknown = append(unknown, a.Type)
		}
	}
	return unknown
}
