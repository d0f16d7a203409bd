package message

// Close codes of protocol v1. A client comes back after CloseAway, CloseRestart,
// CloseTryLater, CloseSlow, CloseSilent and CloseInternal; not after the others.
const (
	CloseDone     = 1000 // finished
	CloseAway     = 1001 // the server drains; come back
	CloseProtocol = 1002 // RFC 6455 was broken
	CloseUTF8     = 1007 // a text message was not UTF-8
	ClosePolicy   = 1008 // too many mistakes
	CloseTooLarge = 1009 // a message over the limit
	CloseInternal = 1011 // the server failed
	CloseRestart  = 1012 // the server restarts; come back
	CloseTryLater = 1013 // overloaded; come back later
	CloseExpired  = 4001 // the identity expired
	CloseKicked   = 4002 // disconnected on purpose; stay away
	CloseSlow     = 4003 // too slow; come back and resume
	CloseTooMany  = 4004 // too many connections
	CloseSilent   = 4008 // no sign of life
)
