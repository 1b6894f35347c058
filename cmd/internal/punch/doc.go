// Package punch carries out one meeting: it makes the clocks comparable,
// agrees with the peer, predicts where the peer will appear, launches the SYNs
// at the common instant, takes the socket that both sides nominate, and
// explains what happened.
//
// Meet does it through a coordinator, Direct by appointment without one. Both
// return a Report; a punch that fails is a Report with a Cause and no error.
// Errors are for what could not be carried out. The socket layer and the clock
// are the caller's: see Network.
//
// Hazard: nothing is called established before the peer has proven its key on
// the punched socket and, on the client's side, before the server has said
// that it accepts ours.
package punch
