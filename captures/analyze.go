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
	// Limit is how many of them are listed at most, the telling ones first; 0
	// for 1000. All are counted.
	Limit int
}

// Analysis is what Analyze found; it marshals to the document of `tcppunch
// analyze`.
type Analysis struct {
	Files      []File          `json:"files"`
	Clocks     []Clock         `json:"clocks"` // one for each file
	Handshakes []Handshake     `json:"handshakes"`
	Unlisted   int             `json:"unlisted"` // how many are counted below and not listed above
	Summary    map[Verdict]int `json:"summary"`
}

// File says how one source was read.
type File struct {
	Path        string      `json:"path"`
	Format      Format      `json:"format"`
	Compression Compression `json:"compression"`
	LinkTypes   []LinkType  `json:"link_types"`
	Packets     int         `json:"packets"`
	Bytes       int64       `json:"bytes"` // after decompression
	CutShort    bool        `json:"cut_short"`
	Problems    []string    `json:"problems"`

	interfaces []Interface
}

// Analyze reads all sources, which are several vantage points of one or more
// exchanges, and judges the openings in them. An error means that a source
// could not be read at all, and names it; a source that breaks off in the
// middle counts as far as it is whole, and its File says so.
func Analyze(sources []Source, filter Filter) (Analysis, error) {
	return AnalyzeHidden(sources, filter, nil)
}

// AnalyzeHidden is Analyze with pseudonyms in the place of all addresses. The
// filter names a true one.
func AnalyzeHidden(sources []Source, filter Filter, hide *Pseudonyms) (Analysis, error) {
	a := Analyzer{hide: hide}
	for i := range a.shards {
		if filter.Host.IsValid() || filter.Port != 0 {
			a.shards[i].counting = filter.matchesKey
		}
	}
	out := Analysis{Files: []File{}, Handshakes: []Handshake{}, Summary: map[Verdict]int{}}
	for i := range a.shards {
		a.shards[i].several = len(sources) > 1
	}
	for i, s := range sources {
		a.SetOffset(i, s.Offset)
		file, err := a.readAll(i, s)
		if err != nil {
			return out, fmt.Errorf("%s: %w", s.Name, err)
		}
		out.Files = append(out.Files, file)
	}
	if n := a.early(); n > 0 {
		last := &out.Files[len(out.Files)-1]
		last.Problems = append(last.Problems, fmt.Sprintf("%d openings were judged before they were over: more than %d were in progress", n, shards*maxOpenings))
	}
	l := newListing(filter)
	list, counts := a.openings()
	l.count(counts)
	a.orphans.list = a.strays()
	a.gather(l.choose(list, a.orphans.list))
	l.filter = hide.filter(filter)
	out.Clocks = a.judge(l.add)
	out.Handshakes, out.Unlisted = l.handshakes()
	out.Summary = l.summary
	for _, h := range out.Handshakes {
		nameVantages(h.Vantages, out.Files)
	}
	return out, nil
}

func (a *Analyzer) readAll(index int, s Source) (File, error) {
	r, err := NewReader(s.Reader)
	if err != nil {
		return File{}, err
	}
	file := File{Path: s.Name, Format: r.Format(), Compression: r.Compression(), Problems: []string{}, LinkTypes: []LinkType{}}
	if err := a.feed(index, r); !file.finish(err) {
		return file, err
	}
	file.interfaces = r.Interfaces()
	a.grains = append(a.grains, r.grain())
	for _, i := range file.interfaces {
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
	if c.Unknown > 0 {
		f.Problems = append(f.Problems, fmt.Sprintf("%d of %d frames have a link type that is not understood", c.Unknown, c.Packets))
	}
	if c.Dropped > 0 {
		f.Problems = append(f.Problems, fmt.Sprintf("%d segments were left out: more openings, or longer ones, than are kept", c.Dropped))
	}
}

// nameVantages names each place by its file, by its interface where a file has
// several, or both.
func nameVantages(list []Vantage, files []File) {
	inFile := map[int]int{}
	for _, v := range list {
		inFile[v.File]++
	}
	for i, v := range list {
		file := files[v.File]
		name := file.Path
		switch {
		case len(file.interfaces) > 1 && v.Interface < len(file.interfaces) && file.interfaces[v.Interface].Name != "":
			name = file.interfaces[v.Interface].Name
			if len(files) > 1 {
				name = file.Path + " " + name
			}
		case inFile[v.File] > 1:
			name = fmt.Sprintf("%s interface %d", file.Path, v.Interface)
		}
		list[i].Name = name
	}
}

func (f Filter) matches(h Handshake) bool {
	host, port := !f.Host.IsValid(), f.Port == 0
	wanted := f.Host.Unmap().WithZone("") // packets name no zone
	for _, v := range h.Vantages {
		for _, end := range []netip.AddrPort{v.A, v.B} {
			host = host || end.Addr() == wanted
			port = port || end.Port() == f.Port
		}
	}
	return host && port
}

// matchesKey is matches for an opening that one place shows.
func (f Filter) matchesKey(id flowID) bool {
	if !f.Host.IsValid() && f.Port == 0 {
		return true
	}
	k := id.key()
	return f.matches(Handshake{Vantages: []Vantage{{A: k.low, B: k.high}}})
}
