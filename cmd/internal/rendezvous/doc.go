// Package rendezvous answers how two peers that cannot reach each other yet
// agree on one instant and on where to aim.
//
// A Coordinator introduces peers over TLS 1.3 with pinned Ed25519 keys, tells
// them how their connections look from outside (STUN over TCP) and relays one
// signed Offer each way. Agree then turns the two offers into a Schedule; it is
// a pure function, so both peers compute the same one without another word.
// Start with offer.go and schedule.go; protocol.md in docs has the messages.
//
// What arrives here comes from strangers: frames are bounded, every wait has a
// deadline, and an address is dialled only if Policy allows it.
package rendezvous
