"""What the demo has a second process do while it goes on: nothing waits for it but the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from karec._beside import Begun, InTurn, Work, begun
from karec._clock import Progress

if TYPE_CHECKING:
    from karec.lab.simulate.world import World
    from karec.platform.dataset import Dataset

FEWEST_ROWS = 50_000  # exposures; of fewer, a process takes longer to start than it saves

R = TypeVar("R")


def meanwhile(work: Work[R], dataset: Dataset, progress: Progress) -> Begun[R]:
    """``work``, of ``dataset``: beside this process, or when it is asked for."""
    return begun(work, progress) if len(dataset.exposures) >= FEWEST_ROWS else InTurn(work, progress)


@dataclass(frozen=True, eq=False)
class Quality:
    """``evaluate_run`` of the run ``folder``."""

    dataset: Dataset
    folder: Path

    def run(self, progress: Progress) -> dict[str, Any]:
        from karec.evaluate.quality import evaluate_run

        return evaluate_run(self.dataset, self.folder, progress)


@dataclass(frozen=True, eq=False)
class Loop:
    """``play_demo`` with the models of the run ``folder``, into ``out``."""

    world: World
    folder: Path
    out: Path
    seed: int

    def run(self, progress: Progress) -> dict[str, Any]:
        from karec.lab.demo.loop import play_demo

        return play_demo(self.world, self.folder, self.out, self.seed, progress)
