"""An alarm rings once its moment is there, and not before."""

import asyncio

import pytest

from karec.load.alarm import Alarm, clock
from karec.load.run import in_loop


@pytest.mark.parametrize("ahead_s", [-1.0, 0.0, 0.0123])
def test_it_rings_once_and_not_before_the_moment(ahead_s):
    async def waiting():
        rung, done = [], asyncio.Event()

        def ring():
            rung.append(clock())
            done.set()

        alarm = Alarm(asyncio.get_running_loop(), ring)
        moment = clock() + ahead_s
        alarm.set(moment)
        await done.wait()
        await asyncio.sleep(0)
        alarm.close()
        return moment, rung

    moment, rung = in_loop(waiting())
    assert len(rung) == 1 and rung[0] >= moment


def test_the_moment_that_was_set_last_counts():
    async def waiting():
        done = asyncio.Event()
        alarm = Alarm(asyncio.get_running_loop(), done.set)
        alarm.set(clock() + 3600)
        alarm.set(clock() + 0.001)
        await done.wait()
        alarm.close()

    in_loop(waiting())
