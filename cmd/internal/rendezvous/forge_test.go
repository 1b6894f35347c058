package rendezvous

import "crypto/ed25519"

// forge signs any bytes as an offer for "b" in session "s".
func forge(id *Identity, payload []byte) SignedOffer {
	return SignedOffer{Payload: payload, Signature: ed25519.Sign(id.Key, signedBytes("offer", payload, "b", "s"))}
}
