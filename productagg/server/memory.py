"""How the process gives memory back: glibc keeps what was freed, in an arena for each thread, for other allocations."""

import ctypes
import gc

# <malloc.h>
_M_ARENA_MAX = -8

_libc = ctypes.CDLL(None)
_mallopt, _malloc_trim = getattr(_libc, "mallopt", None), getattr(_libc, "malloc_trim", None)


def use_one_arena() -> None:
    """Have all threads allocate in one place, where they reuse what others have freed. Before there are threads.

    They hardly ever wait for each other there: Python runs one at a time.
    """
    if _mallopt is not None:
        _mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return to the system what is not used any more. It takes some milliseconds."""
    gc.collect()
    if _malloc_trim is not None:
        _malloc_trim(0)
