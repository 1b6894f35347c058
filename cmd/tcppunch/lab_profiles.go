package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/lab"
)

func labProfilesCommand() *cli.Command {
	return &cli.Command{
		Name:  "profiles",
		Usage: "list the networks that a side of the lab can have",
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			list := lab.Profiles()
			return result(c, map[string]any{"profiles": list}, func(w io.Writer) error { return writeProfiles(w, list) })
		},
	}
}

func writeProfiles(w io.Writer, list []lab.Profile) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "profile\tengine\tstands for\twhat it does\tknown from")
	for _, p := range list {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", p.Name, engineOf(p), p.StandsFor, p.Description, p.Source)
	}
	return table.Flush()
}

// engineOf is what carries out a profile's behaviour.
func engineOf(p lab.Profile) string {
	if len(p.Boxes) == 0 {
		return "–"
	}
	return p.Boxes[0].Engine.String()
}
