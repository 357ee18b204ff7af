"""Memory that was freed goes back to the system: glibc keeps it for what the same thread allocates later."""

import ctypes

_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it


def give_back() -> None:
    """Return to the system what is free. Takes some milliseconds."""
    if _malloc_trim is not None:
        _malloc_trim(0)
