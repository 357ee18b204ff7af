"""Stops new connections in the kernel, so that a server can stop listening without losing an accepted connection."""

import ctypes
import socket
import struct
from contextlib import suppress

# <asm-generic/socket.h>; Python has no name for it.
_SO_ATTACH_FILTER = 26
# A program for the kernel (classic BPF): load the byte with TCP's flags, and drop the packet if it is a SYN.
_INSTRUCTIONS = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
_DROP_SYN = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in _INSTRUCTIONS))


def drop_new_connections(listener: socket.socket) -> None:
    """Let the kernel begin no further connection for a listening socket. Connections that have begun still complete.

    Without the filter, connections that complete between the last `accept` and `close` would be reset together with
    their requests. A client that connects meanwhile gets no reply; its kernel tries again a second later and is
    refused. The filter holds for the socket in all processes. On systems other than Linux this does nothing.
    """
    with suppress(OSError):
        program = struct.pack("HP", len(_INSTRUCTIONS), ctypes.addressof(_DROP_SYN))
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
