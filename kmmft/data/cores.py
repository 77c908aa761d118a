"""How many processor cores there are to use."""

import os


def usable_cores() -> int:
    """Number of cores that this process may use, where the system can tell.

    Returns:
        At least 1.
    """
    # Not every system can tell how many of its cores this process may use.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
