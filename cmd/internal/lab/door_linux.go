package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// door is where other terminals come into a running lab: a socket in the lab's
// own directory, which only its user can enter. Whoever comes passes the
// terminal's descriptors, and the supervisor starts the shell, since nobody
// else can: a process with threads cannot join a user namespace (setns(2)).
type door struct {
	cell     *cell
	listener *net.UnixListener
	ctx      context.Context
	leave    context.CancelFunc
	visits   sync.WaitGroup
}

// knock is what comes through the door, with three descriptors.
type knock struct {
	Node     string `json:"node"`
	Terminal bool   `json:"terminal"` // descriptor 0 is a terminal to control the shell
	Watch    bool   `json:"watch"`    // no shell: what the boxes do
	JSON     bool   `json:"json"`     // as JSON lines
}

// parting is the answer.
type parting struct {
	Status int      `json:"status"`
	Error  string   `json:"error,omitempty"`
	Nodes  []string `json:"nodes,omitempty"` // those that there are, if not the one asked for
}

func doorOf(dir string) string { return filepath.Join(dir, "door") }

func (c *cell) openDoor() (*door, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: doorOf(os.Getenv(envDirectory)), Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("open the lab's door: %w", err)
	}
	d := &door{cell: c, listener: l}
	d.ctx, d.leave = context.WithCancel(context.Background())
	d.visits.Go(d.receive)
	return d, nil
}

func (d *door) close() {
	d.leave()
	d.listener.Close()
	d.visits.Wait()
}

func (d *door) receive() {
	for {
		conn, err := d.listener.AcceptUnix()
		if err != nil {
			return
		}
		d.visits.Go(func() {
			defer conn.Close()
			json.NewEncoder(conn).Encode(d.visit(conn))
		})
	}
}

func (d *door) visit(conn *net.UnixConn) parting {
	k, files, err := readKnock(conn)
	if err != nil {
		return parting{Status: 2, Error: err.Error()}
	}
	defer closeAll(files)
	if k.Watch {
		return d.watch(conn, k, files[1])
	}
	if _, ok := d.cell.network.Scenario.Node(k.Node); !ok {
		return parting{Status: 64, Nodes: d.cell.network.Scenario.nodeNames()}
	}
	cmd, err := d.cell.shell(k.Node)
	if err != nil {
		return parting{Status: 2, Error: err.Error()}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: k.Terminal}
	return partingOf(d.cell.runShell(d.ctx, k.Node, cmd))
}

func partingOf(err error) parting {
	if err == nil {
		return parting{}
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() >= 0 {
		return parting{Status: exit.ExitCode()}
	}
	return parting{Status: 2, Error: err.Error()}
}

func readKnock(conn *net.UnixConn) (k knock, files []*os.File, err error) {
	message, control := make([]byte, 4096), make([]byte, unix.CmsgSpace(3*4))
	n, controls, _, _, err := conn.ReadMsgUnix(message, control)
	if err != nil {
		return k, nil, fmt.Errorf("read request: %w", err)
	}
	list, err := unix.ParseSocketControlMessage(control[:controls])
	if err != nil || len(list) != 1 {
		return k, nil, errors.New("the request passed no descriptors")
	}
	fds, err := unix.ParseUnixRights(&list[0])
	if err != nil {
		return k, nil, fmt.Errorf("read descriptors: %w", err)
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
		files = append(files, os.NewFile(uintptr(fd), "passed"))
	}
	if err := json.Unmarshal(message[:n], &k); err != nil || len(files) != 3 {
		closeAll(files)
		return k, nil, errors.New("the request is malformed")
	}
	return k, files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Join runs a shell in a node of the lab that was started as process pid. It
// runs outside of the supervisor.
func Join(ctx context.Context, pid int, node string) error {
	p, err := visit(ctx, pid, func(conn *net.UnixConn) (parting, error) { return enterDoor(conn, node) })
	switch {
	case err != nil:
		return err
	case p.Nodes != nil:
		return &UnknownWord{Word: node, What: "node", Valid: p.Nodes}
	case p.Error != "":
		return errors.New(p.Error)
	case p.Status != 0:
		return &Ended{Status: p.Status}
	}
	return nil
}

// visit goes to the door of a running lab.
func visit(ctx context.Context, pid int, there func(*net.UnixConn) (parting, error)) (p parting, err error) {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), fmt.Sprintf("%s%d-*", directoryPrefix, pid)))
	if len(dirs) != 1 || !ownedByUser(dirs[0]) {
		return p, fmt.Errorf("there is no lab %d of this user", pid)
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: doorOf(dirs[0]), Net: "unix"})
	if err != nil {
		return p, fmt.Errorf("lab %d cannot be joined: %w", pid, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	p, err = there(conn)
	if ctx.Err() != nil {
		return p, ctx.Err()
	}
	return p, err
}

func enterDoor(conn *net.UnixConn, node string) (p parting, err error) {
	if !term.IsTerminal(0) {
		return ask(conn, knock{Node: node}, os.Stdin, os.Stdout, os.Stderr)
	}
	t, err := openTerminal()
	if err != nil {
		return p, err
	}
	defer t.close()
	return ask(conn, knock{Node: node, Terminal: true}, t.shell, t.shell, t.shell)
}

func ask(conn *net.UnixConn, k knock, in, out, err *os.File) (p parting, _ error) {
	message, _ := json.Marshal(k)
	rights := unix.UnixRights(int(in.Fd()), int(out.Fd()), int(err.Fd()))
	if _, _, err := conn.WriteMsgUnix(message, rights, nil); err != nil {
		return p, fmt.Errorf("ask the lab: %w", err)
	}
	if err := json.NewDecoder(conn).Decode(&p); err != nil {
		return p, fmt.Errorf("the lab ended: %w", err)
	}
	return p, nil
}

// terminal is a second terminal behind the user's, so that the shell can
// control one although the user's belongs to another session.
type terminal struct {
	keys, shell *os.File // the user's end and the shell's
	before      *term.State
	resized     chan os.Signal
	copied      sync.WaitGroup
}

func openTerminal() (*terminal, error) {
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	number, err := unix.IoctlGetInt(int(keys.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(keys.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	shell, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	t := &terminal{keys: keys, shell: shell, resized: make(chan os.Signal, 1)}
	if t.before, err = term.MakeRaw(0); err != nil {
		return nil, fmt.Errorf("prepare terminal: %w", err)
	}
	t.connect()
	return t, nil
}

func (t *terminal) connect() {
	signal.Notify(t.resized, unix.SIGWINCH)
	t.resized <- unix.SIGWINCH
	t.copied.Go(func() {
		for range t.resized {
			if size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
				unix.IoctlSetWinsize(int(t.keys.Fd()), unix.TIOCSWINSZ, size)
			}
		}
	})
	t.copied.Go(func() { io.Copy(os.Stdout, t.keys) })
	go io.Copy(t.keys, os.Stdin) // blocked in a read of the user's terminal, it ends with the process
}

// close shows what the shell still printed, and gives the user's terminal back.
func (t *terminal) close() {
	signal.Stop(t.resized)
	close(t.resized)
	t.shell.Close() // the last shell's end: the copy then sees EIO
	t.copied.Wait()
	t.keys.Close()
	term.Restore(0, t.before)
}
