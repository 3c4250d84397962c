"""Opens the bundles that arms of experiments name, and builds a scene from one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from karec.bundle import Bundle
from karec.bundle.version import ArmBundle
from karec.config.assemble import build_scene, bundle_of_type
from karec.config.resources import Resources
from karec.config.scenes import Config
from karec.errors import ConfigError, KarecError, one_line
from karec.experiments.settings import Experiments
from karec.online.text_numbers import TextNumbers
from karec.pipeline.cascade import Cascade

if TYPE_CHECKING:  # at run time this would load the compiler of the aggregates
    from karec.online.ingestion import OnlineBase

ArmBundles = Mapping[str, ArmBundle | str]  # by the path in experiments.toml; a text: why it cannot be opened


class BuiltScene(NamedTuple):
    """A scene without patches, and what it was built from."""

    cascade: Cascade
    resources: Resources
    bundle: Bundle


def arm_bundle_paths(experiments: Experiments) -> list[str]:
    """Returns the paths of the bundles that arms name, each once, of experiments that have not ended."""
    now = datetime.now(UTC)
    arms = [arm for one in experiments.experiments.values() if one.end > now for arm in one.arms.values()]
    return [*dict.fromkeys(arm.bundle for arm in arms if arm.bundle)]


def open_arm_bundles(
    config: Config,
    experiments: Experiments,
    bind: Callable[[Bundle], OnlineBase] | None = None,
    *,
    in_child: bool = False,
) -> ArmBundles:
    """Returns {path: opened bundle, or the reason why it cannot be opened}. A process opens a bundle once.

    ``bind`` returns the online store for a bundle. ``in_child``: a child process verifies the bundles.
    """
    opened: dict[str, ArmBundle | str] = {}
    for path in arm_bundle_paths(experiments):
        try:
            bundle = Bundle.shared(config.path.parent / path, config.bundle_key, in_child=in_child)
            opened[path] = ArmBundle(bundle, None if bind is None else bind(bundle))
        except (KarecError, OSError, ValueError) as error:
            opened[path] = one_line(str(error))
    return opened


def build_with_bundle(config: Config, control: BuiltScene, other: ArmBundle) -> BuiltScene:
    """Returns the scene of ``control`` built from another bundle.

    It shares the exposure counters and run times of ``control``. It has its own side effects, because a part
    of the rank log has the logits of one ranker. Raises ConfigError if the bundle lacks what the scene reads,
    or if numbers of ids, categories or columns differ: events, exposure counters and conditions contain them.
    """
    scene = config.scene(control.cascade.scene)
    old = control.resources
    new = Resources(bundle_of_type(scene, other.bundle), old.config_folder, exposure=old.exposure)
    labels, columns = old.bundle.snapshot.labels, old.schema.columns
    other_labels, other_columns = new.bundle.snapshot.labels, new.schema.columns
    differences = [f"the categories of {name!r}" for name in labels if labels[name] != other_labels.get(name)]
    differences += [f"the column {name!r}" for name in columns if columns[name] != other_columns.get(name)]
    if _numbering(old, control.bundle) != _numbering(new, other.bundle):
        differences.append("the numbers of ids")
    if differences:
        raise ConfigError(
            f"{other.bundle.path}: {differences[0]} differs from {control.bundle.path}. Publish both from "
            "the same data, with the same ids"
        )
    counters = () if old.exposure is None else control.cascade.side_effects[:1]
    online = None if other.online is None else other.online.follower
    built = build_scene(config, scene, other.bundle, online, new, control.cascade.mix, counters)
    values = {field.name: getattr(built, field.name) for field in fields(built) if field.init}
    return BuiltScene(control.cascade.with_fields(**values), new, other.bundle)


def _numbering(resources: Resources, bundle: Bundle) -> object:
    """Returns a value that is equal if each id has the same number; the kind and seed of a map decide it."""
    naming = resources.bundle.naming
    if naming is None:
        return None
    maps = [
        (ids.kind, ids.numbers([1 if ids.kind == "integer" else "1"])) for ids in (naming.users, naming.items)
    ]
    return [(kind, int(number[0])) for kind, number in maps], TextNumbers.from_folder(bundle.path / "ids")
