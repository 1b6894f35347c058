package rawsock

import "os"

// keepAwake asks the system that processors without work wait for some instead
// of sleeping, for as long as a file is open (power management quality of
// service, Documentation/power/pm_qos_interface.rst): 0 microseconds to wake
// up. A sleeping one takes tens of microseconds to wake, which its waker also
// pays where a hypervisor has a part in it. Only root may, and only a real-time
// thread is worth the power.
func (p *Launchpad) keepAwake() {
	if p.awake != nil || !p.thread.reached.FIFO {
		return
	}
	f, err := os.OpenFile("/dev/cpu_dma_latency", os.O_WRONLY, 0)
	if err != nil {
		return
	}
	if _, err := f.Write(make([]byte, 4)); err != nil {
		f.Close()
		return
	}
	p.awake = f
	p.thread.reached.Awake = true
}

// letSleep undoes keepAwake.
func (p *Launchpad) letSleep() {
	if p.awake != nil {
		p.awake.Close()
		p.awake = nil
	}
}
