"""Selects training rows by the arm of an experiment in which their request counts.

If two arms learn from each other's rows, their difference is not that of two platforms with one arm each
(Si 2023, "Tackling interference induced by data training loops in A/B tests", arXiv 2310.17496). All arms use
rows of requests in no arm, for example from before the experiment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.errors import DataError
from karec.logs.parts import ARMS, LogFolder, read_part
from karec.logs.read import list_parts


@dataclass(frozen=True)
class ArmRows:
    """The rows that a training of one arm uses.

    other_arms  fraction of the requests of other arms that are used, drawn by request id: 0 is learning from
                the own arm only, 1 is pooled learning
    """

    experiment: str
    arm: str
    other_arms: float = 0.0

    def keep(self, arms: NDArray[Any], request_ids: NDArray[Any]) -> NDArray[np.bool_]:
        """Returns (M,) bool: True for rows to use.

        ``arms``: (M,) object, "EXPERIMENT=ARM;…"; ``request_ids``: (M,) object.
        """
        arm_of = {text: self._arm_of(text) for text in {*arms.tolist()}}
        is_kept = np.array([arm_of[text] in ("", self.arm) for text in arms.tolist()], bool)
        if self.other_arms > 0:
            others = np.flatnonzero(~is_kept)
            is_kept[others] = [_fraction(text) < self.other_arms for text in request_ids[others].tolist()]
        return is_kept

    def check_log(self, arms: NDArray[Any]) -> None:
        """Raises DataError if no request of ``arms`` (M,) is in the arm."""
        found = {self._arm_of(text) for text in {*arms.tolist()}} - {""}
        if self.arm not in found:
            raise DataError(
                f"rank log: no request is in the arm {self.arm!r} of the experiment {self.experiment!r}, "
                f"only in {sorted(found)}. Check experiment.name and experiment.arm of the settings"
            )

    def _arm_of(self, text: str) -> str:
        """Returns the arm of this experiment, "" for none."""
        return dict(entry.partition("=")[::2] for entry in text.split(";")).get(self.experiment, "")


def read_request_arms(folder: LogFolder) -> Mapping[str, str]:
    """Returns {request id: "EXPERIMENT=ARM;…"} of the requests in the rank log that are in an arm."""
    arms = dict[str, str]()
    for part in list_parts(folder):
        table = read_part(part, ()).group_by(["request_id", ARMS]).aggregate([])
        pairs = zip(table["request_id"].to_pylist(), table[ARMS].to_pylist(), strict=True)
        arms.update((request, text) for request, text in pairs if text)
    return arms


def _fraction(request_id: str) -> float:
    """Returns a pseudo-random number in [0, 1) that depends only on the request id."""
    return int.from_bytes(blake2b(f"arms {request_id}".encode(), digest_size=6).digest(), "little") / 2**48
