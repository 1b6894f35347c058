package main

import (
	"errors"
	"syscall"

	"tcppunch/rawsock"
)

// classifySocket gives the socket layer's errors their statuses.
func classifySocket(err error) *failure {
	if missing, ok := errors.AsType[*rawsock.PrivilegeError](err); ok {
		return &failure{Status: statusUnavailable, Kind: "privilege-missing", Message: "this needs the capability " + missing.Capability,
			Hint: "run '" + missing.Mend() + "' once, or run as root"}
	}
	switch {
	case errors.Is(err, rawsock.ErrPortInUse), errors.Is(err, syscall.EADDRNOTAVAIL):
		return &failure{Status: statusFailed, Kind: "port-in-use", Message: err.Error(),
			Hint: "choose another --local-port, or leave it away; a port that has just been used for the same peer is free again after a minute"}
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return &failure{Status: statusUnavailable, Kind: "privilege-missing", Message: err.Error(), Hint: "ports below 1024 need CAP_NET_BIND_SERVICE"}
	case errors.Is(err, errors.ErrUnsupported):
		return &failure{Status: statusUnavailable, Kind: "platform-missing", Message: err.Error(), Hint: "this works on Linux"}
	}
	return nil
}
