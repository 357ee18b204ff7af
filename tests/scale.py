"""How much the suite repeats: enough for the loop while writing, more in CI (`make check`)."""

import os

IN_CI = bool(os.environ.get("CI"))
KILLED_RUNS = 50 if IN_CI else 10
EXAMPLES = 100 if IN_CI else 25  # of each Hypothesis test that does not say how many


def examples(count: int) -> int:
    """How many examples a Hypothesis test tries that says how many: all of them in CI, otherwise half."""
    return count if IN_CI else max(5, count // 2)
