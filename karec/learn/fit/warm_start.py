"""Starts a training from the weights of an earlier one, whose vocabularies may differ.

The new encoder has the values of today's rows, and the number scales of the earlier encoder. A value of both
encoders keeps its vector. A new value gets the vector of unknown values (code 0), which id dropout has
trained. A value whose rows have left the log loses its vector; the vectors of others decay by
``optimizer.weight_decay``. All other weights, and the pieces of numbers, are those of the earlier model.

The training is one epoch of the last days (docs/notebook/2026-12-01-day-by-day.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from karec.catalog.dataset import Dataset
from karec.errors import ConfigError, DataError
from karec.evaluate.quality import read_run
from karec.features.encoder import Encoder
from karec.features.table import NumberScale
from karec.features.vocabulary import Vocabulary, encode_known
from karec.learn._torch import Tensor, nn, torch
from karec.learn.fit.checkpoint import best_weights
from karec.learn.settings.settings import TrainSettings, read_run_settings
from karec.times import DAY_MS

EPOCHS = 1
TABLES = {"person": "user_id", "user_codes": "user_ids", "item_codes": "item_ids", "context_codes": "context"}


@dataclass(frozen=True, eq=False)
class WarmStart:
    """An earlier training, in the run folder ``folder``, and the days from which a new one learns.

    encoder            the encoder of its models
    settings           its settings
    learned_until_ms   its training rows are earlier
    chosen_until_ms    its validation rows, which chose the epochs, are earlier
    days               number of last days whose rows the new training reads
    in_a_row           number of warm starts since the last training from scratch, with the new one
    names              {column: names of its category codes}
    """

    folder: Path
    encoder: Encoder
    settings: TrainSettings
    learned_until_ms: int
    chosen_until_ms: int
    days: int
    in_a_row: int
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def from_folder(cls, folder: Path, days: int) -> WarmStart:
        """Returns a start from the models in ``folder``.

        Raises DataError if ``folder`` has no run or no weights, ConfigError for models without a warm start.
        """
        facts = read_run(folder)
        settings = read_run_settings(folder, facts)
        kind, recipe = settings.ranker.kind, settings.distil.recipe
        if kind != "mmoe" or settings.has_matching_towers:
            raise ConfigError(
                f"a warm start continues an mmoe ranker and towers that learn from it; {folder} has ranker "
                f"{kind!r} and recipe {recipe!r}. Train from scratch: leave out --warm-start."
            )
        names = facts["data"].get("categories")
        if (
            names is None
            or "learned_until_ms" not in facts
            or not (folder / "checkpoints/ranker.pt").exists()
        ):
            raise DataError(
                f"{folder} has no weights of a ranker, or was written by an older karec. Name another run "
                "with --run, or train from scratch: leave out --warm-start."
            )
        before = facts.get("warm_start", {}).get("in_a_row", 0)
        times = facts["learned_until_ms"], facts["trained_until_ms"]
        return cls(folder, Encoder.load(folder / "encoder.npz"), settings, *times, days, before + 1, names)

    @property
    def facts(self) -> dict[str, Any]:
        """The entry ``warm_start`` of run.json."""
        version = self.settings.model_version
        return {"from_version": version, "days": self.days, "in_a_row": self.in_a_row}

    @property
    def identity(self) -> str:
        """Text that identifies the start in checkpoints; versions of two OUT can have one number."""
        return f"{self.facts} of {crc32((self.folder / 'run.json').read_bytes()):08x}"

    def check(self, dataset: Dataset) -> None:
        """Raises DataError if ``dataset`` has no new training rows or earlier models read its test rows."""
        if self.learned_until_ms >= dataset.train_until_ms or self.chosen_until_ms > dataset.valid_until_ms:
            times = np.array(
                [self.learned_until_ms, self.chosen_until_ms, dataset.train_until_ms, dataset.valid_until_ms]
            )
            learned, chosen, train, valid = times.astype("datetime64[ms]").astype("datetime64[s]")
            raise DataError(
                f"{self.folder}: training rows end at {learned} UTC, validation rows at {chosen}; those of "
                f"{dataset.name} end at {train} and {valid}, expected later ones. Add newer rows, or train "
                "from scratch: leave out --warm-start."
            )

    def with_codes(self, names: Mapping[str, Sequence[str]]) -> WarmStart:
        """Returns the start with its encoder in the category codes of ``names``."""
        return replace(self, encoder=self.encoder.with_codes(self.names, names), names=names)

    def describe(self, encoder: Encoder) -> str:
        """Returns a line for the user on a training with ``encoder``."""
        items, old_items = encoder.works.vocabularies[0], self.encoder.works.vocabularies[0]
        n_new = int((encode_known(old_items, items.keys) == 0).sum())
        return (
            f"warm start from version {self.settings.model_version}, {self.in_a_row} in a row: the last "
            f"{self.days} days, {EPOCHS} epoch; {n_new:,} of {len(items):,} items with an embedding are new"
        )

    def first_ms(self, until_ms: int) -> int:
        """Returns the time of the first row of a training that ends at ``until_ms``.

        If the earlier training ended before the last days, the rows since its end are included.
        """
        return min(until_ms - self.days * DAY_MS, self.learned_until_ms)

    def with_epochs(self, settings: TrainSettings) -> TrainSettings:
        """Returns ``settings`` with the epochs of a warm start."""
        return settings.replace(ranker={"epochs": EPOCHS}, towers={"epochs": EPOCHS})

    def with_scales(self, encoder: Encoder) -> Encoder:
        """Returns ``encoder`` with the number scales and prior rates of the earlier one.

        Raises DataError if the two have other columns.
        """
        names, old_names = (
            {"labels": e.tasks, **{f"{name} (inputs)": columns for name, columns in e.names.items()}}
            for e in (encoder, self.encoder)
        )
        for name, columns in names.items():
            if columns != old_names[name]:
                added, gone = sorted({*columns} - {*old_names[name]}), sorted({*old_names[name]} - {*columns})
                change = f"{added} are new, {gone} are gone" if added or gone else "the order is another one"
                raise DataError(
                    f"{self.folder} was trained on other {name}: {change}. Train from scratch: leave out "
                    "--warm-start."
                )
        tables = {}
        for name in ("users", "works"):
            new, old = getattr(encoder, name), getattr(self.encoder, name)
            scales = {"numbers": _known_scales(old.numbers, new.numbers), "moments": old.moments}
            tables[name] = replace(new, **scales, priors=old.priors)
        return replace(encoder, **tables)

    def weights(self, model: str, encoder: Encoder) -> dict[str, Tensor]:
        """Returns the state_dict of "ranker" or "towers" for models of ``encoder``.

        Cost: one copy of the model. Raises CheckpointError if the run has no finished model of this name.
        """
        weights = dict(best_weights(self.folder / "checkpoints" / f"{model}.pt"))
        old_codes = {name: _old_codes(encoder, self.encoder, name) for name in TABLES.values()}
        for key in weights:
            table = key.removesuffix(".table.weight").rpartition(".")[2]
            if key.endswith(".table.weight") and table in TABLES:
                weights[key] = weights[key][torch.from_numpy(old_codes[TABLES[table]])]
        return weights


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copies ``weights`` into ``model``. Raises DataError if they are of a model of another structure."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"the earlier model has another structure: {reason}. Train from scratch.") from error


def _known_scales(old: Sequence[NumberScale], new: Sequence[NumberScale]) -> tuple[NumberScale, ...]:
    """Returns the scales of ``old``; of ``new`` for a number that was missing, or 0, in all earlier rows."""
    return tuple(n if (o.mean, o.scale) == (0.0, 1.0) else o for o, n in zip(old, new, strict=True))


def _old_codes(encoder: Encoder, old: Encoder, name: str) -> NDArray[Any]:
    """Returns the row in the table of ``old`` of each row of a CodeEmbedding of the input ``name``."""
    rows, begin = [], 0
    columns = zip(_vocabularies(encoder, name), _vocabularies(old, name), old.sizes[name], strict=True)
    for at, (keys, old_keys, old_size) in enumerate(columns):
        if keys is None or old_keys is None:  # the same codes in each encoder
            codes = np.arange(old_size)
        else:
            codes = np.concatenate([[0], encode_known(old_keys, keys.keys)])
        if name == "item_ids" and at == 0:
            first, names = len(old.works.vocabularies[0]) + 1, [head.name for head in old.item_types]
            types = [first + names.index(h.name) if h.name in names else 0 for h in encoder.item_types]
            codes = np.concatenate([codes, np.array(types, np.int64)])
        rows.append(begin + codes)
        begin += old_size
    return np.concatenate([np.empty(0, np.int64), *rows])


def _vocabularies(encoder: Encoder, name: str) -> tuple[Vocabulary | None, ...]:
    if name == "context":
        return (encoder.scenes, None, None)
    return {
        "user_id": (encoder.people,),
        "user_ids": encoder.users.vocabularies,
        "item_ids": encoder.works.vocabularies,
    }[name]
