"""How a service stops listening without losing a connection that the kernel has accepted for it."""

import ctypes
import socket
import struct
from contextlib import suppress

# <asm-generic/socket.h>; Python has no name for it.
_SO_ATTACH_FILTER = 26
# A program for the kernel (classic BPF): load the byte of TCP's flags, and drop the packet if it is a SYN.
_INSTRUCTIONS = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
_DROP_SYN = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in _INSTRUCTIONS))


def begin_no_connection(listener: socket.socket) -> None:
    """Let the kernel begin no further connection for a listening socket; those that have begun come in.

    Between the last `accept` and `close` more would come in, and be reset with the requests that they bring. A client
    that tries meanwhile hears nothing; its kernel tries again a second later, and hears that nobody listens. That goes
    for the socket in all processes. Elsewhere than on Linux nothing happens.
    """
    with suppress(OSError):
        program = struct.pack("HP", len(_INSTRUCTIONS), ctypes.addressof(_DROP_SYN))
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
