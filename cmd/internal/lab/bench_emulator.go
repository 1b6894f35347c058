package lab

import (
	"time"

	"tcppunch/rawsock/netlab"
)

// EmulatorConfig says what to measure of the core. All fields are required but
// Busy.
type EmulatorConfig struct {
	Device  netlab.DeviceKind // Auto is TUN, or Packet where that cannot be had
	Delay   time.Duration     // one way
	Packets int               // whose delay is measured, in each condition
	Burst   int               // that are sent as fast as they go, with each number of boxes
	Busy    int               // processes that keep processors busy in the second condition; 0: there is none
}

// EmulatorDocument is what `lab bench emulator` prints.
type EmulatorDocument struct {
	Benchmark  string            `json:"benchmark"`
	Machine    BenchMachine      `json:"machine"`
	Device     netlab.DeviceKind `json:"device"`
	RealTime   bool              `json:"real_time"` // of the core's thread
	Delay      int64             `json:"delay_ns"`
	Conditions []EmulatorDelay   `json:"conditions"`
	Throughput []EmulatorRate    `json:"throughput"`
}

// EmulatorDelay is how exact the delay was beside so many busy processes: by
// the kernel's stamp of the arrival minus the sender's clock just before it
// sent, minus the delay; and as the core itself says.
type EmulatorDelay struct {
	Busy     int         `json:"busy"`
	Packets  int         `json:"packets"` // that arrived
	Missing  int         `json:"missing"`
	Error    Percentiles `json:"error_ns"`
	Lateness Percentiles `json:"lateness_ns"`
}

// EmulatorRate is how many packets went through the core with so many
// middleboxes that change nothing on the way.
type EmulatorRate struct {
	Boxes        int     `json:"boxes"`
	Packets      int     `json:"packets"` // that were delivered
	Dropped      int     `json:"dropped"`
	Elapsed      int64   `json:"elapsed_ns"` // from the first sent to the last delivered
	CPU          int64   `json:"cpu_ns"`     // of the core's thread
	PerSecond    float64 `json:"packets_per_second"`
	PerCPUSecond float64 `json:"packets_per_cpu_second"`
}

func (r *EmulatorRate) conclude() {
	r.PerSecond = float64(r.Packets) / time.Duration(r.Elapsed).Seconds()
	r.PerCPUSecond = float64(r.Packets) / time.Duration(r.CPU).Seconds()
}

// corePercentiles are those of a core's own record.
func corePercentiles(l netlab.Lateness) Percentiles {
	if l.Delivered == 0 {
		return Percentiles{}
	}
	return Percentiles{P50: new(int64(l.P50)), P90: new(int64(l.P90)), P99: new(int64(l.P99)), Max: new(int64(l.Max))}
}
