package punch

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/timing"
)

// Appointment replaces the coordinator: everything that the peers would have
// agreed on was agreed beforehand.
type Appointment struct {
	Remote netip.AddrPort // where the peer will appear
	Secret []byte         // shared by both, at least MinSecret bytes
}

// MinSecret is the least length of a secret: 128 bits.
const MinSecret = 16

// Direct meets a peer by appointment, without a coordinator. cfg.Wish must be
// absolute and cfg.LocalPort set; cfg.NTP should be, because otherwise nothing
// bounds the difference between the two clocks.
func Direct(ctx context.Context, cfg Config, appointment Appointment) (Result, error) {
	keys, err := deriveKeys(appointment.Secret)
	if err != nil {
		return Result{}, err
	}
	m := &meeting{cfg: cfg, keys: keys, report: newReport(cfg.Peer)}
	defer m.close()
	return m.conclude(m.runDirect(ctx, appointment.Remote))
}

func (m *meeting) runDirect(ctx context.Context, remote netip.AddrPort) (net.Conn, error) {
	host, err := sourceAddress(remote)
	if err != nil {
		return nil, err
	}
	if _, err := m.claimPort(host, 0); err != nil {
		return nil, err
	}
	if err := m.holdUntilEarly(ctx); err != nil {
		return nil, err
	}
	at, err := m.appointed(ctx)
	if err != nil {
		return nil, err
	}
	return m.launch(ctx, plan{
		at:    at,
		pairs: []rendezvous.Pair{{Remote: appointedCandidate(host, remote), SYNs: m.cfg.Budget}},
		// Only a peer on this very host is known to run this system's sockets.
		minTTL: m.cfg.MinTTL && host == remote.Addr(),
		// Nothing else distinguishes the sides yet. Where NATs rewrite the
		// ports this may pick both or neither, and retries cross by luck only.
		sweeps: netip.AddrPortFrom(host, m.cfg.LocalPort).Compare(remote) < 0,
		bound:  orZero(m.report.SkewBound), likely: orZero(m.report.SkewUncertainty),
	})
}

// appointedCandidate is a host's own address where the peer is on this host, and
// otherwise what some NAT may show.
func appointedCandidate(host netip.Addr, remote netip.AddrPort) rendezvous.Candidate {
	kind := rendezvous.ServerReflexive
	if host == remote.Addr() {
		kind = rendezvous.Host
	}
	return rendezvous.Candidate{Kind: kind, Addr: remote}
}

// appointed is the instant of the appointment by this host's time servers.
func (m *meeting) appointed(ctx context.Context) (timing.Instant, error) {
	at := *m.cfg.Wish.At
	m.report.At = pointer(at.UTC())
	if m.cfg.NoSync || len(m.cfg.NTP) == 0 {
		m.trace(Sync, "not synchronised: this machine's clock is taken as it is")
		return m.cfg.Clock.Instant(at), nil
	}
	var sources []timing.Source
	for _, n := range m.cfg.NTP {
		sources = append(sources, m.cfg.Cache.NTP(n, m.cfg.Clock))
	}
	estimate, err := timing.Sync(ctx, m.cfg.Clock, sources, m.cfg.Samples, sampleSpacing)
	if err != nil {
		return 0, err
	}
	m.report.Clock = &estimate
	for _, o := range estimate.Offsets(timing.Now()) {
		m.report.TimeSources = append(m.report.TimeSources, o.Name)
	}
	// The peer is assumed to know its clock as well as this one.
	m.report.SkewBound, m.report.SkewUncertainty = pointer(2*estimate.Bound), pointer(2*estimate.Uncertainty)
	m.trace(Sync, "this clock is %s against the reference, ± %s", -estimate.Offset, estimate.Bound)
	instant := estimate.Instant(m.cfg.Clock, at)
	if instant.Sub(timing.Now()) < 0 {
		return 0, &failed{PeerLate, fmt.Sprintf("by the time servers' clock the instant %s has passed", at.UTC().Format(time.RFC3339Nano))}
	}
	return instant, nil
}

// roleKeys are the identities of the two TLS roles, derived from the secret.
type roleKeys struct{ client, server *rendezvous.Identity }

// deriveKeys makes both roles' keys of the secret with HKDF-SHA-256 (RFC 5869).
func deriveKeys(secret []byte) (*roleKeys, error) {
	if len(secret) < MinSecret {
		return nil, fmt.Errorf("a secret has at least %d bytes", MinSecret)
	}
	var made [2]*rendezvous.Identity
	for i, role := range []string{"client", "server"} {
		seed, err := hkdf.Key(sha256.New, secret, nil, "tcppunch meeting 1 "+role, ed25519.SeedSize)
		if err != nil {
			return nil, fmt.Errorf("derive keys: %w", err)
		}
		if made[i], err = rendezvous.IdentityFromKey(ed25519.NewKeyFromSeed(seed)); err != nil {
			return nil, err
		}
	}
	return &roleKeys{client: made[0], server: made[1]}, nil
}

const (
	nonceMagic = "tcppunch nonce 1"
	nonceSize  = 16
)

// drawRoles exchanges random numbers on the raw socket: the smaller one takes
// the client's role. The numbers are no secret, they only break the symmetry.
func drawRoles(ctx context.Context, raw net.Conn) (client bool, err error) {
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	own := append([]byte(nonceMagic), make([]byte, nonceSize)...)
	rand.Read(own[len(nonceMagic):])
	if _, err := raw.Write(own); err != nil {
		return false, fmt.Errorf("draw roles: %w", err)
	}
	theirs := make([]byte, len(own))
	if _, err := io.ReadFull(raw, theirs); err != nil {
		return false, fmt.Errorf("draw roles: %w", err)
	}
	order := bytes.Compare(own, theirs)
	if !bytes.HasPrefix(theirs, []byte(nonceMagic)) || order == 0 {
		return false, errors.New("draw roles: the other end is no tcppunch peer")
	}
	return order < 0, nil
}
