"""Peak memory of a piece of work, where Linux can reset the peak; elsewhere the peak of the whole process.
And memory that was freed, given back to the system.
"""

from __future__ import annotations

import contextlib
import ctypes
import resource
from pathlib import Path


def reset_peak() -> None:
    """Set the peak to what the process holds now, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def give_back_freed() -> None:
    """What was freed goes back to the system, where the C library is glibc: it keeps most of it for the next
    time.

    Other threads run meanwhile; one that allocates waits for some milliseconds at most.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def peak_gib() -> float:
    """Peak resident memory of the process since ``reset_peak``, in GiB, with what it held then."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20
