package varlink

import (
	"context"
	_ "embed" // for the interface description
)

//go:embed org.varlink.service.varlink
var serviceDescription string

type getInfoIn struct{}

type getInfoOut struct {
	Vendor     string   `json:"vendor"`
	Product    string   `json:"product"`
	Version    string   `json:"version"`
	URL        string   `json:"url"`
	Interfaces []string `json:"interfaces"`
}

type getDescriptionIn struct {
	Interface string `json:"interface"`
}

type getDescriptionOut struct {
	Description string `json:"description"`
}

// serviceInterface is org.varlink.service, which every server has.
func (s *Server) serviceInterface() Interface {
	return Interface{
		Name:        ServiceInterface,
		Description: serviceDescription,
		Methods: map[string]Method{
			"GetInfo":                 {ReadOnly: true, Handle: Handle(s.getInfo)},
			"GetInterfaceDescription": {ReadOnly: true, Handle: Handle(s.getInterfaceDescription)},
		},
	}
}

func (s *Server) getInfo(context.Context, getInfoIn) (getInfoOut, error) {
	return getInfoOut{s.Vendor, s.Product, s.Version, s.URL, s.interfaceNames()}, nil
}

func (s *Server) getInterfaceDescription(_ context.Context, in getDescriptionIn) (getDescriptionOut, error) {
	i, ok := s.interfaces[in.Interface]
	if !ok {
		return getDescriptionOut{}, &InterfaceNotFoundError{Interface: in.Interface}
	}
	return getDescriptionOut{i.Description}, nil
}
