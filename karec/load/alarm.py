"""Waking at a moment, to some 50 µs: the timers of event loops know milliseconds alone.

Source: timerfd_create(2). Python has it from 3.13 on, by the name os.timerfd_create; here it is called in
libc.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable

CLOCK_MONOTONIC, TFD_NONBLOCK, TFD_CLOEXEC, TFD_TIMER_ABSTIME = 1, os.O_NONBLOCK, os.O_CLOEXEC, 1
clock = time.monotonic  # the clock of the alarm


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


class Alarm:
    """Calls ``ring`` on the loop once the moment that was set last is there. OSError: the system has no
    timerfd."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop, self._ring, self._libc = loop, ring, ctypes.CDLL(None, use_errno=True)
        self._file = self._libc.timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        loop.add_reader(self._file, self._rang)

    def set(self, moment: float) -> None:
        """``moment``: of ``clock``; one that is past rings at once."""
        whole, part = divmod(max(int(moment * 1e9), 1), 1_000_000_000)
        at = _Itimerspec(_Timespec(0, 0), _Timespec(whole, part))
        if self._libc.timerfd_settime(self._file, TFD_TIMER_ABSTIME, ctypes.byref(at), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def _rang(self) -> None:
        try:
            os.read(self._file, 8)
        except BlockingIOError:  # it was set anew meanwhile
            return
        self._ring()

    def close(self) -> None:
        self._loop.remove_reader(self._file)
        os.close(self._file)
