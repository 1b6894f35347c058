package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// BenchCraft measures how fast crafted SYNs leave on one processor, against a
// loop in C, and how late a single one leaves, against connect(). It must be
// called in the supervisor.
func BenchCraft(ctx context.Context, c CraftConfig) (d CraftDocument, err error) {
	d = CraftDocument{Benchmark: "craft", CraftConfig: c, Machine: thisMachine()}
	n, err := buildBench()
	if err != nil {
		return d, fmt.Errorf("build the benchmark's network: %w", err)
	}
	defer func() { err = errors.Join(err, n.closeBench()) }()
	dir, err := os.MkdirTemp("", "tcppunch-bench-")
	if err != nil {
		return d, err
	}
	defer os.RemoveAll(dir)
	rival, compiler, err := buildRival(ctx, dir)
	if err != nil {
		return d, err
	}
	d.Compiler = compiler
	var all nodes
	defer all.kill()
	p, err := n.start("a", "lab", "bench", "craft-node", "--local", benchA.Addr().String(), "--remote", benchSink.String(), "--rival", rival,
		"--syns", strconv.Itoa(c.SYNs), "--rounds", strconv.Itoa(c.Rounds), "--launches", strconv.Itoa(c.Launches))
	if err != nil {
		return d, err
	}
	all.add(p)
	limit := time.Minute + time.Duration(c.Rounds)*time.Second + time.Duration(c.Launches)*100*time.Millisecond
	if err := p.answer(ctx, limit, &d.CraftTimes); err != nil {
		return d, err
	}
	d.conclude()
	d.Machine.LoadAfter = load()
	return d, nil
}

// buildRival compiles the rival, where there is a compiler; no path says that
// there is none.
func buildRival(ctx context.Context, dir string) (path string, compiler *string, err error) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		return "", nil, nil
	}
	version, err := exec.CommandContext(ctx, cc, "--version").Output()
	if err != nil {
		return "", nil, fmt.Errorf("ask %s for its version: %w", cc, err)
	}
	name, _, _ := strings.Cut(string(version), "\n")
	path = filepath.Join(dir, "rival")
	cmd := exec.CommandContext(ctx, cc, "-O2", "-Wall", "-x", "c", "-o", path, "-")
	cmd.Stdin = strings.NewReader(rivalSource)
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", nil, fmt.Errorf("compile the rival: %w\n%s", err, output)
	}
	return path, &name, nil
}

// PinThread locks the goroutine to a thread that uses one processor only, and
// so do the processes that it starts.
func PinThread() error {
	runtime.LockOSThread()
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	for cpu := len(allowed)*64 - 1; cpu >= 0; cpu-- { // the last: interrupts prefer the first
		if allowed.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	return os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &one))
}

// rivalSource is the plainest loop around sendmmsg(2): the same SYNs as
// CraftedBurst, laid out beforehand.
const rivalSource = `
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static uint32_t sum(const uint8_t *b, size_t n, uint32_t s) {
	for (; n > 1; b += 2, n -= 2) s += b[0] << 8 | b[1];
	return s;
}
static void put16(uint8_t *b, unsigned v) { b[0] = v >> 8; b[1] = v; }

int main(int argc, char **argv) {
	struct in_addr from, to;
	if (argc != 6 || !inet_aton(argv[1], &from) || !inet_aton(argv[3], &to)) return 2;
	unsigned port = atoi(argv[2]), remote = atoi(argv[4]);
	int n = atoi(argv[5]);
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	if (fd < 0) { perror("socket"); return 1; }
	uint8_t (*packets)[60] = calloc(n, 60);
	struct iovec *vectors = calloc(n, sizeof *vectors);
	struct mmsghdr *messages = calloc(n, sizeof *messages);
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_addr = to };
	const uint8_t ip[12] = {0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 6};
	const uint8_t options[20] = {2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7};
	for (int i = 0; i < n; i++) {
		uint8_t *p = packets[i], *tcp = p + 20;
		memcpy(p, ip, 12); memcpy(p + 12, &from, 4); memcpy(p + 16, &to, 4);
		put16(tcp, port + i); put16(tcp + 2, remote);
		put16(tcp + 4, i >> 4); put16(tcp + 6, i << 12);
		tcp[12] = 0xa0; tcp[13] = 2; put16(tcp + 14, 0xfaf0);
		memcpy(tcp + 20, options, 20);
		uint32_t s = sum(tcp, 40, sum(p + 12, 8, 6 + 40));
		while (s >> 16) s = (s & 0xffff) + (s >> 16);
		put16(tcp + 16, ~s);
		vectors[i] = (struct iovec){p, 60};
		messages[i].msg_hdr = (struct msghdr){.msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &vectors[i], .msg_iovlen = 1};
	}
	while (getchar() == '\n') {
		struct timespec a, b;
		clock_gettime(CLOCK_MONOTONIC, &a);
		for (int sent = 0; sent < n;) {
			int k = sendmmsg(fd, messages + sent, n - sent, 0);
			if (k < 0) { perror("sendmmsg"); return 1; }
			sent += k;
		}
		clock_gettime(CLOCK_MONOTONIC, &b);
		printf("%lld\n", (b.tv_sec - a.tv_sec) * 1000000000LL + b.tv_nsec - a.tv_nsec);
		fflush(stdout);
	}
	return 0;
}
`
