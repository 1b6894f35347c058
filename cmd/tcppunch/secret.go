package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"github.com/urfave/cli/v2"
)

func secretCommand() *cli.Command {
	return &cli.Command{
		Name:  "secret",
		Usage: "print a new secret for meetings without a coordinator",
		Description: "Put it into a file on both sides, for --secret-file:\n" +
			"   (umask 077; tcppunch secret > meeting.secret)",
		Action: func(c *cli.Context) error {
			var raw [16]byte
			rand.Read(raw[:])
			_, err := fmt.Fprintln(streamsOf(c).out, hex.EncodeToString(raw[:]))
			return err
		},
	}
}
