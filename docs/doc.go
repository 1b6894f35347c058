// Package docs holds the project's documents, and tests that hold them and
// the source tree to their word: start with architecture.md.
package docs
