"""Runs the demo: training, bundle, second round of towers, pages, three simulated days, and their report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from karec.catalog.dataset import Dataset
from karec.catalog.snapshot import Snapshot
from karec.config.project import set_up
from karec.evaluate.quality import evaluate_run, read_run
from karec.lab.demo import three_days
from karec.lab.demo.scenes import measure_scenes
from karec.lab.demo.second_round import make_requests, run_second_round
from karec.lab.demo.serve import measure_funnel, measure_pages, serve
from karec.lab.simulate.world import World
from karec.lab.simulate.world.item_types import make_item_types
from karec.refresh.item_types import DerivedItemType
from karec.times import Progress


class TrainedRun(Protocol):
    """Result of a training, for example ``karec.learn.run.train.TrainResult``."""

    @property
    def folder(self) -> Path: ...
    @property
    def quality(self) -> dict[str, Any]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, eq=False)
class Demo:
    """A demo over one data set.

    world       truth of the synthetic platform; None for other data, which have no simulated days
    ids         folder with the maps of the data's ids; None if ids are numbers
    out         folder for models, bundle and karec.toml
    n_requests  requests to serve
    scenes      templates of further scenes; they need a world
    """

    dataset: Dataset
    world: World | None
    ids: Path | None
    out: Path
    n_requests: int = 200
    scenes: Sequence[str] = ()
    seed: int = 0

    def run(
        self,
        train: Callable[[], TrainedRun],
        learn_from_log: Callable[[Path, Path], TrainedRun],
        progress: Progress,
    ) -> dict[str, Any]:
        """Returns the report (``karec.lab.demo.report``).

        ``train`` trains a run without measuring it. ``learn_from_log(run folder, rank log)`` returns a
        measured run whose towers continue with the log.
        """
        runs = [train()]
        config = self._publish(runs[0].folder, progress)

        def learn(log: Path) -> None:
            runs.append(learn_from_log(runs[0].folder, log))
            self._publish(runs[1].folder, progress)

        requests = make_requests(self.dataset, self.n_requests)
        second_round, notes = None, [*self.dataset.notes]
        if all(requests):
            second_round = run_second_round(config, *requests, learn, progress)
        else:
            notes.append("too few users for a second round of towers: it is left out")
        notes += [note for run in runs for note in run.notes]
        report = self._measure(config, runs[-1], progress)
        return {**report, "second_round": second_round, "notes": notes, "config": str(config)}

    def _measure(self, config: Path, run: TrainedRun, progress: Progress) -> dict[str, Any]:
        """Returns the report's measures of the published ``run``."""
        with ExitStack() as stack:
            wait_for_days = None
            if self.world is not None:
                folder, part = self.out / "three_days", three_days.PART
                days = three_days.ThreeDays(self.world, run.folder, folder, self.seed, part)
                wait_for_days = stack.enter_context(days.started())
            served = serve(self.dataset, config, self.n_requests, progress)
            funnel_loss = measure_funnel(served, progress)
            scenes = None
            if self.scenes and self.world is not None:
                scenes = measure_scenes(self.world, config, self.scenes, self.n_requests, progress)
            quality = run.quality or evaluate_run(self.dataset, run.folder, progress)
            days_report = None if wait_for_days is None else wait_for_days(progress)
        return {
            **measure_pages(self.dataset, served),
            "quality": quality["models"],
            "funnel_loss": funnel_loss,
            "three_days": days_report,
            "scenes": scenes,
        }

    def _publish(self, run: Path, progress: Progress) -> Path:
        return set_up(
            self.dataset,
            run,
            read_run(run)["settings"],
            self.out,
            progress,
            ids=self.ids,
            until_ms=self.dataset.valid_until_ms,
            scenes=self.scenes,
            item_types_of=self._item_types if self.scenes else None,
        )

    def _item_types(self, snapshot: Snapshot) -> dict[str, DerivedItemType]:
        assert self.world is not None
        return {name: item_type.data for name, item_type in make_item_types(self.world, snapshot).items()}
