package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/rendezvous"
)

// strategyOf reads --strategy. Without a coordinator nobody tells the peer's
// choice, nor what the strategies beyond simopen exchange.
func strategyOf(c *cli.Context) (rendezvous.Strategy, error) {
	strategy, err := parseStrategy(c.String("strategy"))
	if err == nil && c.String("coordinator") == "" && !strategy.Foretells() {
		err = usageError(fmt.Sprintf("the strategy %s needs a coordinator", strategy), "by appointment there are auto and simopen, which are the same then")
	}
	return strategy, err
}

func parseStrategy(name string) (rendezvous.Strategy, error) {
	strategy, err := rendezvous.ParseStrategy(name)
	if err == nil {
		return strategy, nil
	}
	hint := "strategies are " + strings.Join(strategyNames(), ", ")
	if near := nearest(name, strategyNames()); near != "" {
		hint = fmt.Sprintf("did you mean %s? %s", near, "S"+hint[1:])
	}
	return "", usageError(err.Error(), hint)
}

func strategyNames() []string {
	var names []string
	for _, s := range rendezvous.Strategies {
		names = append(names, string(s))
	}
	return names
}
