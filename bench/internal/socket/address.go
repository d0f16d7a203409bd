//go:build linux

package socket

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Address parses an IPv4 host:port for the calls of package unix.
func Address(s string) (*unix.SockaddrInet4, error) {
	address, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, err
	}
	if !address.Addr().Is4() {
		return nil, fmt.Errorf("socket: %s is not an IPv4 address", s)
	}
	return &unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}, nil
}
