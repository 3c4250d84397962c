"""Requests of a few sampled users, run before a service says that it is ready."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from karec.bundle import Bundle
from karec.bundle.hot_swap import HotSwap
from karec.errors import BundleError, one_line
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Request
from karec.serve.ids import naming_of

USERS = 4
ROUNDS = 2  # the first of each scene compiles and allocates


def first_requests(live: HotSwap) -> None:
    """Every scene answers a few users and one that nobody knows; no observer sees it. BundleError: one
    fails."""
    for scene, cascade in live.cascades.items():
        quiet = replace(cascade, side_effects=())
        for _ in range(ROUNDS):
            for user in sampled_users(cascade):
                try:
                    quiet.run(Request(user, scene=scene))
                except Exception as error:  # a step of the host's own may raise anything
                    where = (
                        f"{cascade.versions['bundle']}: a first request of the scene {scene!r}, user "
                        f"{user!r}, fails"
                    )
                    raise BundleError(one_line(f"{where}: {type(error).__name__}: {error}")) from error


def sampled_users(cascade: Cascade) -> list[int | str]:
    """Ids as the platform has them: spread over the table of users, and one that is in none."""
    bundle, naming = cascade.bundle, naming_of(cascade)
    users = bundle.snapshot.users.ids if isinstance(bundle, Bundle) else np.empty(0, np.int64)
    some = users[np.linspace(0, len(users) - 1, USERS).astype(np.int64)] if len(users) else users
    if naming is None:
        return [*some.tolist(), -(2**62)]
    named = naming.users.names(some).tolist() if len(some) else []
    return [*named, "nobody knows this user" if naming.users.kind == "string" else 2**62]
