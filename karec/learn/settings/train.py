"""The settings of a training, from Python or from a TOML file whose tables are the sections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from karec.catalog.dataset import Dataset
from karec.errors import ConfigError
from karec.learn.settings.fields import Checked, setting
from karec.learn.settings.from_data import HISTORY, OF_MATCHING, history_length, matching_helps, min_count
from karec.learn.settings.recipes import AUTO, OF_RETRIEVAL, RECIPES
from karec.learn.settings.sections import (
    DistilSettings,
    EvaluationSettings,
    FeatureSettings,
    OptimizerSettings,
    RankerSettings,
    RecallSettings,
    RunSettings,
    ShadowSettings,
    TowerSettings,
)
from karec.models.fusion import ObjectiveWeights
from karec.toml import REMOVED, Place, fill, read_toml, refuse_removed

Settings = TypeVar("Settings", bound="TrainSettings")
QUICK_STEPS = 2000


@dataclass(frozen=True)
class TrainSettings(Checked):
    """What a settings file says: keys at its top level, and a table for each section."""

    # LightGBM's is an int32
    seed: int = setting(0, "seed of everything random", at_least=0, at_most=2**31 - 1)
    model_version: int = setting(1, "written into every model; `karec train` sets it", at_least=0)
    fusion: Mapping[str, float] = setting(
        {},
        "weights in the fused score, which prerank's user vector learns, of the tasks and of what the MMoE "
        "learns besides; empty: those that the data name",
        at_least=0,
    )
    task_weights: Mapping[str, float] = setting(
        {},
        "weights of the tasks' losses and, as `fused`, of the towers' fused head; 1 for a task not named",
        at_least=0,
    )
    features: FeatureSettings = field(default_factory=FeatureSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    ranker: RankerSettings = field(default_factory=RankerSettings)
    towers: TowerSettings = field(default_factory=TowerSettings)
    distil: DistilSettings = field(default_factory=DistilSettings)
    recall: RecallSettings = field(default_factory=RecallSettings)
    shadow: ShadowSettings = field(default_factory=ShadowSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    run: RunSettings = field(default_factory=RunSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            ObjectiveWeights(self.fusion or {"": 1.0})
        except ValueError as error:
            raise ConfigError(f"fusion = {dict(self.fusion)}: {error}") from error
        if self.distil.list_works > self.shadow.works:
            raise ConfigError(
                f"distil.list_works = {self.distil.list_works}, expected at most shadow.works = "
                f"{self.shadow.works}"
            )

    def quick(self, rows: int) -> Self:
        """For a first look at ``rows`` training rows: passes until QUICK_STEPS steps are made, one at least,
        at most those of these settings; of a log that needs one pass, the ranker has one member. Towers are
        matching ones, which learn most in their first pass.
        """
        passes = -(-QUICK_STEPS * self.optimizer.batch_size // max(rows, 1))
        ranker = replace(self.ranker, epochs=min(passes, self.ranker.epochs))
        return replace(
            self,
            ranker=replace(ranker, members=1) if passes == 1 else ranker,
            towers=replace(self.towers, epochs=min(passes, self.towers.epochs), matching=True),
            features=replace(self.features, history_length=self.features.history_length or HISTORY),
            evaluation=replace(self.evaluation, resamples=50),
        )

    def of(self, dataset: Dataset) -> Self:
        """These settings as a training on ``dataset`` follows them: what they leave to the data is filled
        in."""
        meaning = asdict(dataset.snapshot.meaning)
        auxiliary = [label for name in self.ranker.auxiliary for label in meaning.get(name, (name,))]
        ranker = replace(self.ranker, auxiliary=tuple(dict.fromkeys(auxiliary)))
        weights = {
            label: weight for name, weight in self.fusion.items() for label in meaning.get(name, (name,))
        }
        found = replace(self, fusion=weights or dataset.objectives, ranker=ranker)._of_log(
            dataset.drawn is not None
        )
        if found.towers.matching == "auto":
            matching = matching_helps(dataset)
            found = found._where_left(OF_MATCHING) if matching else found
            found = replace(found, towers=replace(found.towers, matching=matching))
        if found.features.history_length == 0:
            length = history_length(found.towers.matching is True)
            found = replace(found, features=replace(found.features, history_length=length))
        if found.features.min_count == 0:
            rows = len(dataset.split()[0])
            found = replace(found, features=replace(found.features, min_count=min_count(rows)))
        return found

    def _of_log(self, positives_alone: bool) -> Self:
        """With the recipe that "auto" stands for, and what recipe retrieval takes where nothing else is said.
        Losses that were set without naming a recipe stay.
        """
        found = self
        if self.distil.recipe == AUTO:
            built_in = DistilSettings()
            untouched = all(getattr(self.distil, key) == getattr(built_in, key) for key in RECIPES["list"])
            name = "retrieval" if positives_alone and untouched else "list"
            found = (
                self.with_recipe(name)
                if untouched
                else replace(self, distil=replace(self.distil, recipe=name))
            )
        return found._where_left(OF_RETRIEVAL) if found.distil.recipe == "retrieval" else found

    def _where_left(self, values: Mapping[str, Mapping[str, Any]]) -> Self:
        """With ``values``, {section: {key: value}}, of keys that stand at their defaults."""
        changed = {}
        for section, keys in values.items():
            said = getattr(self, section)
            left = {
                key: value for key, value in keys.items() if getattr(said, key) == getattr(type(said)(), key)
            }
            changed[section] = replace(said, **left)
        return replace(self, **changed)

    def with_recipe(self, name: str) -> Self:
        """These settings with the losses of another recipe; raises ConfigError for one that does not
        exist."""
        refuse_removed("recipe", name)
        if name not in RECIPES:
            raise ConfigError(f"recipe = {name!r}, expected one of {tuple(RECIPES)}")
        return replace(self, distil=replace(self.distil, recipe=name, **RECIPES[name]))

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a TOML file; raises ConfigError naming the file, the table and a wrong key or value."""
        table, place = read_toml(path), Place(path)
        _refuse_keys_of_sections(table, place)
        return fill(cls, table, place, _of_recipe(cls(), table, place))


def run_settings(folder: Path, run: Mapping[str, Any]) -> TrainSettings:
    """The settings of the run in ``folder``, of whose run.json ``run`` is the content. ConfigError: they do
    not fit. Removed keys are skipped: models that were trained with them serve as before."""
    settings, place = run["settings"], Place(folder / "run.json")
    if settings["distil"].get("born_again"):  # its towers.pt does not hold the towers that served
        raise place["distil"].refusal(f"born_again was removed. {REMOVED['distil.born_again']}")
    kept = {
        name: {key: each for key, each in value.items() if f"{name}.{key}" not in REMOVED}
        if isinstance(value, dict)
        else value
        for name, value in settings.items()
    }
    return fill(TrainSettings, kept, place)


def _of_recipe(built_in: Settings, table: Mapping[str, Any], place: Place) -> Settings:
    """What a file's other keys overrule: the built-in settings, with the losses of the recipe that it
    names."""
    distil = table.get("distil")
    recipe = distil.get("recipe") if isinstance(distil, dict) else None
    if not isinstance(recipe, str) or recipe == AUTO:
        return built_in
    try:
        return built_in.with_recipe(recipe)
    except ConfigError as error:
        raise place["distil"].refusal(error) from error


def _refuse_keys_of_sections(table: Mapping[str, Any], place: Place) -> None:
    """Raises ConfigError for a key at the top level that belongs to a section."""
    top: dict[str, Any] = {each.name: each.default_factory for each in fields(TrainSettings)}
    for key in sorted(table.keys() - top.keys()):
        sections = [name for name, kind in top.items() if is_dataclass(kind) and key in _names(kind)]
        if sections:
            places = " or ".join(f"{section}.{key}" for section in sections)
            raise place.refusal(f"the key {key!r} belongs to a section. Write it at {places}.")


def _names(kind: Any) -> set[str]:
    return {each.name for each in fields(kind)}
