package netlab

import "errors"

type engine struct{}

func openDevice(PortConfig) (device, error) { return nil, errors.ErrUnsupported }
func startEngine(*Core) (*engine, error)    { return nil, errors.ErrUnsupported }
func (e *engine) stop() error               { return nil }
