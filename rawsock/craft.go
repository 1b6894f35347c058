package rawsock

import (
	"errors"
	"fmt"
	"os"
)

// PrivilegeError says which capability the system wants for an operation. It
// wraps os.ErrPermission.
type PrivilegeError struct {
	Capability string // such as CAP_NET_RAW
	Err        error
}

// Error names the capability and the command that grants it.
func (e *PrivilegeError) Error() string {
	return fmt.Sprintf("the capability %s is missing, which '%s' mends: %v", e.Capability, e.Mend(), e.Err)
}

// Unwrap is the system's error.
func (e *PrivilegeError) Unwrap() error { return e.Err }

// Mend is the command that grants this program the capability. The command
// replaces all that was granted before, so both capabilities are in it where
// the stronger one is missing.
func (e *PrivilegeError) Mend() string {
	binary, err := os.Executable()
	if err != nil {
		binary = "tcppunch"
	}
	granted := "cap_net_raw"
	if e.Capability == capNetAdmin {
		granted = "cap_net_admin,cap_net_raw"
	}
	return "sudo setcap " + granted + "+ep " + binary
}

const (
	capNetRaw   = "CAP_NET_RAW"
	capNetAdmin = "CAP_NET_ADMIN"
)

// privilege names the capability behind a refusal; other errors stay as they
// are.
func privilege(err error, capability string) error {
	if errors.Is(err, os.ErrPermission) {
		return &PrivilegeError{Capability: capability, Err: err}
	}
	return err
}

// Volley is a list of crafted segments, laid out to be sent at an instant with
// as few system calls as the kernel allows, 1024 segments a call. It belongs to
// its Sender, and may be fired any number of times, but only once at a time.
type Volley struct{ volley }
