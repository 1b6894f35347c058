package lab

import "cmp"

// The transports of a meeting. UDP is the control: `meet --transport udp`.
const (
	TCP = "tcp"
	UDP = "udp"
)

func (c Config) overUDP() bool { return c.Transport == UDP }

func (c Config) transport() string { return cmp.Or(c.Transport, TCP) }

// transportArguments are what a client's command line has for its transport.
// Only TCP's opening is captured.
func (c Config) transportArguments(capture string) []string {
	if c.overUDP() {
		return []string{"--transport", UDP}
	}
	return []string{"--capture", capture}
}
