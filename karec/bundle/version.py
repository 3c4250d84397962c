"""A version in service: one bundle, its cascades, and the number of their running requests."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Condition
from typing import TYPE_CHECKING

from karec.bundle.bundle import Bundle
from karec.errors import BundleError, one_line
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Request

if TYPE_CHECKING:  # at run time this would load the compiler of the aggregates
    from karec.online.ingestion import Ingestion, OnlineBase


class RunningRequests:
    """The number of requests that run on one version. Any thread may call."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._n_running = 0

    def begin(self) -> None:
        with self._changed:
            self._n_running += 1

    def end(self) -> None:
        with self._changed:
            self._n_running -= 1
            if not self._n_running:
                self._changed.notify_all()

    def wait_for_end(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._n_running)


@dataclass(frozen=True, eq=False)
class ArmBundle:
    """A bundle that arms of experiments name, and the online store for it."""

    bundle: Bundle
    online: OnlineBase | None = None


@dataclass(frozen=True, eq=False)
class Version:
    """One bundle and the cascades that serve it.

    ``identity`` equals another version's if configuration and bundle are the same. ``ingestion`` is None if
    the configuration has no online store; versions share it. ``online`` is the state of the online store for
    this bundle. ``arm_bundles``: by their paths in experiments.toml.
    """

    identity: Hashable
    bundle: Bundle
    cascades: Mapping[str, Cascade]
    ingestion: Ingestion | None = None
    online: OnlineBase | None = None
    arm_bundles: Mapping[str, ArmBundle] = field(default_factory=dict)
    running: RunningRequests = field(default_factory=RunningRequests, init=False, repr=False)

    @property
    def name(self) -> str:
        """The bundle's folder and model version, for people."""
        return f"{self.bundle.path.name} (model {self.bundle.model_version})"

    def cascade_of(self, scene: str) -> Cascade:
        """Raises ValueError if the version does not have the scene."""
        if scene not in self.cascades:
            raise ValueError(f"scene is {scene!r}, expected one of {sorted(self.cascades)}")
        return self.cascades[scene]


def check_served_requests(new: Version, served: Mapping[str, Iterable[Request]], old: Version) -> None:
    """Runs requests that got items before on ``new``, without side effects.

    Raises BundleError if one fails, or gets no item although ``old`` still has items for it. Scenes that
    ``new`` does not have are left out.
    """
    for scene in served.keys() & new.cascades.keys():
        cascade = new.cascades[scene].without_side_effects()
        old_cascade = old.cascades.get(scene, cascade).without_side_effects()
        place = (
            f"{cascade.versions['bundle']}: a request of the scene {scene!r} that was answered with works "
            f"before"
        )
        for request in served[scene]:
            try:
                n_items = len(cascade.run(request).candidates)
            except Exception as error:  # a user's own step may raise anything
                raise BundleError(one_line(f"{place} fails: {type(error).__name__}: {error}")) from error
            if not n_items and len(old_cascade.run(request).candidates):
                raise BundleError(f"{place} gets none")
