package lab

func (s *story) writeHTML(path string) error { return nil }
