package captures

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"
)

// Source is one capture file to be analysed.
type Source struct {
	Name   string
	Reader io.Reader
	Offset time.Duration // to add to its times; see Analyzer.SetOffset
}

// Filter chooses handshakes. The zero value lets all pass. An end counts with
// every address that it has at any vantage point.
type Filter struct {
	Host netip.Addr
	Port uint16
}

// Analysis is what Analyze found; it marshals to the document of `tcppunch
// analyze`.
type Analysis struct {
	Files      []File          `json:"files"`
	Handshakes []Handshake     `json:"handshakes"`
	Summary    map[Verdict]int `json:"summary"`
}

// File says how one source was read.
type File struct {
	Path      string     `json:"path"`
	Format    Format     `json:"format"`
	LinkTypes []LinkType `json:"link_types"`
	Packets   int        `json:"packets"`
	Bytes     int64      `json:"bytes"`
	CutShort  bool       `json:"cut_short"`
	Problems  []string   `json:"problems"`
}

// Analyze reads all sources, which are several vantage points of one or more
// exchanges, and judges the openings in them. An error means that a source
// could not be read at all, and names it; a source that breaks off in the
// middle counts as far as it is whole, and its File says so.
func Analyze(sources []Source, filter Filter) (Analysis, error) {
	var a Analyzer
	out := Analysis{Files: []File{}, Handshakes: []Handshake{}, Summary: map[Verdict]int{}}
	for i, s := range sources {
		a.SetOffset(i, s.Offset)
		file, err := a.readAll(i, s)
		if err != nil {
			return out, fmt.Errorf("%s: %w", s.Name, err)
		}
		out.Files = append(out.Files, file)
	}
	for _, h := range a.Handshakes() {
		if filter.matches(h) {
			nameVantages(h.Vantages, sources)
			out.Handshakes = append(out.Handshakes, h)
			out.Summary[h.Verdict]++
		}
	}
	return out, nil
}

func (a *Analyzer) readAll(index int, s Source) (File, error) {
	r, err := NewReader(s.Reader)
	if err != nil {
		return File{}, err
	}
	file := File{Path: s.Name, Format: r.Format(), Problems: []string{}, LinkTypes: []LinkType{}}
	for {
		p, err := r.Next()
		if err == nil {
			a.Add(index, r.LinkType(p), p)
			continue
		}
		if !file.finish(err) {
			return file, err
		}
		break
	}
	for _, i := range r.Interfaces() {
		if !slices.Contains(file.LinkTypes, i.LinkType) {
			file.LinkTypes = append(file.LinkTypes, i.LinkType)
		}
	}
	file.Packets, file.Bytes = a.Counts(index).Packets, r.Bytes()
	file.note(a.Counts(index))
	return file, nil
}

// finish notes how reading ended; false means that it is the reader below that
// failed, not the file.
func (f *File) finish(err error) bool {
	switch {
	case errors.Is(err, io.EOF):
		return true
	case errors.Is(err, ErrCutShort):
		f.CutShort = true
	case !errors.Is(err, ErrMalformed):
		return false
	}
	f.Problems = append(f.Problems, err.Error())
	return true
}

func (f *File) note(c FileCounts) {
	if c.Damaged > 0 {
		f.Problems = append(f.Problems, fmt.Sprintf("%d of %d frames could not be decoded", c.Damaged, c.Packets))
	}
	if c.Dropped > 0 {
		f.Problems = append(f.Problems, fmt.Sprintf("%d segments were left out: more openings, or longer ones, than are kept", c.Dropped))
	}
}

func nameVantages(list []Vantage, sources []Source) {
	for i, v := range list {
		list[i].Name = sources[v.File].Name
	}
}

func (f Filter) matches(h Handshake) bool {
	host, port := !f.Host.IsValid(), f.Port == 0
	for _, v := range h.Vantages {
		for _, end := range []netip.AddrPort{v.A, v.B} {
			host = host || end.Addr() == f.Host.Unmap()
			port = port || end.Port() == f.Port
		}
	}
	return host && port
}
