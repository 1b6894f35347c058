package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/lab"
)

// checkLabStrategy checks --strategy of a lab command, which passes it on.
func checkLabStrategy(c *cli.Context) error {
	name := c.String("strategy")
	if name == "" || c.Command.Name == "matrix" && severalStrategies(c) != nil {
		return nil
	}
	_, err := parseStrategy(name)
	return err
}

// severalStrategies are those of a list, or nil where there is none. The names
// are not checked yet.
func severalStrategies(c *cli.Context) []string {
	list := strings.Split(c.String("strategy"), ",")
	switch {
	case slices.Contains(list, "all"):
		return strategyNames()
	case len(list) > 1:
		return list
	}
	return nil
}

func labStrategies(c *cli.Context, list []string) error {
	config, err := strategyConfig(c, list)
	if err != nil {
		return err
	}
	return inLab(c, func(ctx context.Context) error {
		s := streamsOf(c)
		var done func(lab.StrategyCell)
		if c.Bool("json-stream") {
			encoder := json.NewEncoder(s.out)
			done = func(cell lab.StrategyCell) { encoder.Encode(cell) }
		}
		table, err := lab.RunStrategies(ctx, config, done)
		if err != nil {
			return err
		}
		if path := c.String("html"); path != "" {
			if err := createPage(path, table.WriteHTML); err != nil {
				return err
			}
		}
		if c.Bool("json-stream") || c.Bool("json") {
			return printJSON(s.out, schemaOf("lab strategies"), table)
		}
		return writeStrategies(s.out, table)
	})
}

func strategyConfig(c *cli.Context, list []string) (lab.StrategyConfig, error) {
	for _, name := range list {
		if _, err := parseStrategy(name); err != nil {
			return lab.StrategyConfig{}, err
		}
	}
	if c.String("transport") == lab.UDP {
		return lab.StrategyConfig{}, usageError("strategies are about SYNs: they do not go with --transport udp", "leave one of the two away")
	}
	matrix, err := matrixConfig(c)
	config := lab.StrategyConfig{Config: matrix.Config, Profiles: matrix.Profiles, Strategies: list}
	if err != nil {
		return config, err
	}
	config.Opposite, err = lab.ParseProfile(c.String("opposite"))
	if err != nil {
		return config, profileError("opposite", err)
	}
	return config, nil
}

// writeStrategies prints the table, and where a strategy is worth its name.
func writeStrategies(w io.Writer, x lab.Strategies) error {
	fmt.Fprintf(w, "%d strategies on %d networks, each with itself and with %s, %v one way\n\n", len(x.Strategies), len(x.Profiles), x.Opposite, time.Duration(x.Delay))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "pair\t%s\n", strings.Join(x.Strategies, "\t"))
	for _, row := range x.Rows() {
		fmt.Fprintf(table, "%s × %s", row[0].A, row[0].B)
		for _, cell := range row {
			fmt.Fprintf(table, "\t%d/%d", cell.Summary.Established, cell.Summary.Valid)
		}
		fmt.Fprintln(table)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	writeWins(w, "more often than simopen", x.Wins)
	writeWins(w, "more often than auto", x.Short)
	_, err := fmt.Fprintf(w, "\n%v\n", time.Duration(x.Took).Round(time.Second))
	return err
}

func writeWins(w io.Writer, what string, list []lab.StrategyWin) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s (95 %% intervals apart):\n", what)
	for _, win := range list {
		fmt.Fprintf(w, "  %s × %s: %s %d of %d, %s %d of %d\n", win.A, win.B, win.Strategy, win.Share.Established, win.Share.Valid, win.Over, win.Less.Established, win.Less.Valid)
	}
}
