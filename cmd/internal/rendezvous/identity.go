package rendezvous

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base32"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// KeyID names an Ed25519 public key: its 32 bytes in lower-case base32 without
// padding, 52 characters. The zero value means unknown.
type KeyID string

var keyEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// KeyIDOf names a public key.
func KeyIDOf(key ed25519.PublicKey) KeyID { return KeyID(keyEncoding.EncodeToString(key)) }

// ParseKeyID checks the text form of a key.
func ParseKeyID(s string) (KeyID, error) {
	raw, err := keyEncoding.DecodeString(strings.ToLower(s))
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return "", fmt.Errorf("%q is not a key: a key has 52 characters from a to z and 2 to 7", s)
	}
	return KeyID(strings.ToLower(s)), nil
}

// PublicKey is the key that the ID names, or nil where the ID is not one.
func (id KeyID) PublicKey() ed25519.PublicKey {
	raw, err := keyEncoding.DecodeString(string(id))
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil
	}
	return raw
}

// MarshalJSON writes null for an unknown key.
func (id KeyID) MarshalJSON() ([]byte, error) {
	if id == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(id))
}

// Short is the beginning of the ID, enough for a person to compare.
func (id KeyID) Short() string { return string(id[:min(12, len(id))]) }

// Identity is a private key and the certificate that carries it in TLS.
type Identity struct {
	Key  ed25519.PrivateKey
	cert tls.Certificate
}

// NewIdentity makes an identity that lives as long as the process.
func NewIdentity() (*Identity, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return IdentityFromKey(key)
}

// IdentityFromKey wraps an existing key. The certificate is signed by the key
// itself; its names and dates mean nothing, because only the key is compared
// and because the clocks here may be wrong.
func IdentityFromKey(key ed25519.PrivateKey) (*Identity, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	return &Identity{Key: key, cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}, nil
}

// ID names the identity's public key.
func (i *Identity) ID() KeyID { return KeyIDOf(i.Key.Public().(ed25519.PublicKey)) }

// LoadIdentity reads the key of name from the state directory, and makes and
// keeps one where there is none.
func LoadIdentity(dir, name string) (*Identity, error) {
	path := filepath.Join(dir, name+".key")
	body, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createIdentity(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	block, _ := pem.Decode(body)
	if block == nil {
		return nil, fmt.Errorf("read key: %s holds no PEM block", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", path, err)
	}
	own, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read key: %s does not hold an Ed25519 key", path)
	}
	return IdentityFromKey(own)
}

func createIdentity(path string) (*Identity, error) {
	identity, err := NewIdentity()
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(identity.Key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("keep key: %w", err)
	}
	body := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) { // another process was quicker: use its key
		return LoadIdentity(filepath.Dir(path), strings.TrimSuffix(filepath.Base(path), ".key"))
	}
	if err != nil {
		return nil, fmt.Errorf("keep key: %w", err)
	}
	_, err = f.Write(body)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("keep key: %w", err)
	}
	return identity, nil
}
