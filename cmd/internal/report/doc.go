// Package report renders what was found, for people: text ladders for the
// terminal, SVG, and HTML pages that need nothing but themselves. It decides
// nothing; every word it prints comes from the model that it is given.
//
// Read next: scene.go (what a ladder consists of), then ladder.go (text),
// svg.go and html.go, which draw the same scene. Hazard: names and texts may
// come from a stranger; all pass through Escape or the HTML template.
package report
