"""Returns freed memory to the operating system. glibc would keep it for later allocations of the same thread."""

import ctypes

_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it


def return_free_memory() -> None:
    """Return unused memory to the operating system. Takes some milliseconds."""
    if _malloc_trim is not None:
        _malloc_trim(0)
