"""How much the suite repeats: little for the loop while writing (`make quick`), most in `make check-all`."""

import os

ALL_TESTS = bool(os.environ.get("ALL_TESTS"))  # set by `make check-all`, which takes longer than CI has
QUICK = bool(os.environ.get("QUICK"))
KILLED_RUNS = 50 if ALL_TESTS else 10
EXAMPLES = 100 if ALL_TESTS else 5 if QUICK else 10  # of each Hypothesis test that does not say how many


def examples(count: int) -> int:
    """How many examples a Hypothesis test tries that says how many: all of them only in `make check-all`."""
    return count if ALL_TESTS else max(2, count // (10 if QUICK else 6))
