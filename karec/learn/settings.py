"""The settings of a training run: one TOML table, each key a field here."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from karec.errors import ConfigError
from karec.scenes import OBJECTIVES

RANKERS = ("mmoe", "lr", "lightgbm")
POSITIVE = (
    *("epochs", "tower_epochs", "patience", "batch_size", "learning_rate", "dim", "hidden", "n_experts"),
    *("tower_hidden", "vector", "temperature", "history_length", "min_count", "resamples", "bins"),
)


@dataclass(frozen=True)
class TrainSettings:
    """Keys of a settings file, at its top level or in its table ``[train]``.

    seed, model_version      of everything random; written into every model
    ranker                   which model ranks and teaches: "mmoe", "lr" or "lightgbm"
    baselines                what is trained only to be compared with: of "lr", "lightgbm"; popularity costs nothing
    epochs, tower_epochs     passes over the training days at most; the best pass on validation is kept
    patience                 stop after so many passes that were no better
    batch_size, learning_rate, weight_decay (on embeddings)
    dim, hidden, n_experts   of the ranker: of an item code's vector (users' are half), of an expert, how many experts
    bins                     pieces of the piecewise linear effect of a number
    dropout, id_dropout      of the ranker's hidden units; share of work, creator and song ids hidden while training
    tower_hidden, vector     width of the towers; D, the dimensions of their vectors
    soft_weight, temperature λ and T of the distillation loss (karec/learn/losses.py)
    fusion                   weights of the tasks in the fused score that the towers' fused head learns
    history_length           how many of a user's last works the models see
    min_count                how often training must have seen a value for a vector of its own
    refresh_hours            training rows know the platform as of the last multiple of this, as serving from a
                             published snapshot does; 0: as of their own moment, for a service with live features
    threads                  0: as many as torch finds
    resamples                of users, for the intervals
    """

    seed: int = 0
    model_version: int = 1
    ranker: Literal["mmoe", "lr", "lightgbm"] = "mmoe"
    baselines: tuple[str, ...] = ("lr",)
    epochs: int = 2
    tower_epochs: int = 3
    patience: int = 1
    batch_size: int = 512
    learning_rate: float = 2e-3
    weight_decay: float = 1.0
    dim: int = 16
    hidden: int = 64
    n_experts: int = 4
    bins: int = 8
    dropout: float = 0.1
    id_dropout: float = 0.3
    tower_hidden: int = 128
    vector: int = 64
    soft_weight: float = 0.5
    temperature: float = 2.0
    fusion: Mapping[str, float] = field(default_factory=lambda: dict(OBJECTIVES))
    history_length: int = 30
    min_count: int = 20
    refresh_hours: float = 24.0
    threads: int = 0
    resamples: int = 200

    def __post_init__(self) -> None:
        if self.ranker not in RANKERS:
            raise ConfigError(f"ranker = {self.ranker!r}, expected one of {RANKERS}")
        strangers = sorted(set(self.baselines) - {"lr", "lightgbm"})
        if strangers:
            raise ConfigError(f"baselines hold {strangers}, expected 'lr' or 'lightgbm'")
        for name in POSITIVE:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} = {getattr(self, name)!r}, expected more than 0")
        for name in ("seed", "model_version", "weight_decay", "refresh_hours", "threads"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} = {getattr(self, name)!r}, expected at least 0")
        for name in ("soft_weight", "dropout", "id_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} = {getattr(self, name)!r}, expected 0 to 1")
        if self.dim % 2:
            raise ConfigError(f"dim = {self.dim}, expected an even number")

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a TOML file; raises ConfigError naming the file and a wrong key or value."""
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not TOML: {error}") from error
        table = table["train"] if isinstance(table.get("train"), dict) else table
        kinds = {field.name: type(getattr(cls(), field.name)) for field in dataclasses.fields(cls)}
        values = {key: _value(path, key, value, kinds) for key, value in table.items()}
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error


def _value(path: Path, key: str, value: Any, kinds: Mapping[str, type]) -> Any:
    if key not in kinds:
        close = difflib.get_close_matches(key, kinds, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ConfigError(f"{path}: unknown key {key!r}{hint}; known are {sorted(kinds)}")
    kind = kinds[key]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is tuple and isinstance(value, list):
        return tuple(value)
    if kind is dict and isinstance(value, dict):
        return {task: _value(path, f"{key}.{task}", weight, {f"{key}.{task}": float}) for task, weight in value.items()}
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError(f"{path}: {key} = {value!r}, expected {kind.__name__.replace('tuple', 'a list')}")
    return value
