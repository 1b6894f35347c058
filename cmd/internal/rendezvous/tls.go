package rendezvous

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// ErrWrongKey means that the other end of a TLS connection proved another key
// than the one expected.
var ErrWrongKey = errors.New("the other end has another key than the one expected")

// TLS makes the configuration for one connection with pinned keys. expected is
// the key that the other end must prove; the zero KeyID accepts any Ed25519
// key. protocol is the ALPN word that both ends must share.
//
// Session tickets are off: a resumed session would not prove the key again.
func (i *Identity) TLS(expected KeyID, protocol string) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{i.cert},
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, // no authorities here: VerifyConnection compares the key itself
		SessionTicketsDisabled: true,
		NextProtos:             []string{protocol},
		VerifyConnection: func(state tls.ConnectionState) error {
			if state.NegotiatedProtocol != protocol {
				return fmt.Errorf("the other end does not speak %s", protocol)
			}
			id, err := certifiedKey(state.PeerCertificates)
			if err != nil {
				return err
			}
			if expected != "" && id != expected {
				return fmt.Errorf("%w: %s instead of %s", ErrWrongKey, id.Short(), expected.Short())
			}
			return nil
		},
	}
}

// ProvenKey is the key that the other end of an established connection proved.
func ProvenKey(conn *tls.Conn) KeyID {
	id, _ := certifiedKey(conn.ConnectionState().PeerCertificates)
	return id
}

func certifiedKey(chain []*x509.Certificate) (KeyID, error) {
	if len(chain) == 0 {
		return "", errors.New("the other end showed no certificate")
	}
	key, ok := chain[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return "", errors.New("the other end's key is not Ed25519")
	}
	return KeyIDOf(key), nil
}
