package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/rendezvous"
)

func stateFlag() cli.Flag {
	return &cli.StringFlag{Name: "state", Usage: "`DIR` that keeps keys and known peers (default: tcppunch in the user's state directory)"}
}

// stateDir is where keys are kept, or "" where this user has no such place.
func stateDir(c *cli.Context) string {
	if dir := c.String("state"); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "tcppunch")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "state", "tcppunch")
}

// loadIdentity reads or makes the key of a name. Where the user named no
// directory and the usual one cannot be written, the key lives as long as the
// process, and dir is empty.
func loadIdentity(c *cli.Context, name string) (identity *rendezvous.Identity, dir string, err error) {
	dir = stateDir(c)
	if dir != "" {
		identity, err = rendezvous.LoadIdentity(dir, name)
		if err == nil {
			return identity, dir, nil
		}
		if c.String("state") != "" {
			return nil, "", &failure{Status: statusFailed, Kind: "state", Message: err.Error(), Hint: "name a directory that this user can write with --state"}
		}
		streamsOf(c).say("no key is kept: %v", err)
	}
	identity, err = rendezvous.NewIdentity()
	return identity, "", err
}

// knownPeers are the keys that earlier meetings pinned, by peer name.
type knownPeers map[string]rendezvous.KeyID

func knownPeersFile(dir, name string) string { return filepath.Join(dir, name+".peers.json") }

func loadKnownPeers(dir, name string) (knownPeers, error) {
	known := knownPeers{}
	if dir == "" {
		return known, nil
	}
	body, err := os.ReadFile(knownPeersFile(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return known, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read known peers: %w", err)
	}
	if err := json.Unmarshal(body, &known); err != nil {
		return nil, fmt.Errorf("read known peers: %s: %w", knownPeersFile(dir, name), err)
	}
	return known, nil
}

// save replaces the file in one step, so that a killed process loses nothing.
func (k knownPeers) save(dir, name string) error {
	body, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return fmt.Errorf("keep known peers: %w", err)
	}
	f, err := os.CreateTemp(dir, "."+name+".*")
	if err != nil {
		return fmt.Errorf("keep known peers: %w", err)
	}
	_, err = f.Write(append(body, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("keep known peers: %w", err)
	}
	if err := os.Rename(f.Name(), knownPeersFile(dir, name)); err != nil {
		return fmt.Errorf("keep known peers: %w", err)
	}
	return nil
}
