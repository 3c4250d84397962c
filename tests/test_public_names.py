"""Public names and signatures of ``dir(karec)``, and of ``karec.pipeline.step`` for custom steps.

``golden/public_names.txt`` has one of them per line. After an intended change write it again, and
describe the change in CHANGELOG.md:

    python tests/test_public_names.py

``native/tests/c_api/test_abi.cpp`` and ``tests/native/golden/abi-1.txt`` do the same for ``karec.h``.
"""

import difflib
import inspect
from collections.abc import Iterator
from pathlib import Path

import karec
import karec.pipeline.step

PUBLIC = sorted({*dir(karec)} - {"__version__"})
GOLDEN = Path(__file__).parent / "golden" / "public_names.txt"


def lines_of(name: str, value: object) -> Iterator[str]:
    """Yields ``name`` and the public attributes of a class, each with its signature."""
    if isinstance(value, type):
        yield f"class {name}({', '.join(base.__name__ for base in value.__bases__)})"
        if not issubclass(value, Exception | dict):  # theirs are Python's own
            yield f"{name}{inspect.signature(value)}"
        annotated = (member for base in value.__mro__ for member in inspect.get_annotations(base))
        for member in sorted({*dir(value), *annotated}):
            if not member.startswith("_") and is_own(value, member):
                yield from lines_of_member(name, member, inspect.getattr_static(value, member, None))
    elif inspect.isfunction(value):
        yield f"{name}{inspect.signature(value)}"
    elif inspect.ismodule(value):
        for public in value.__all__:
            yield from lines_of(f"{name}.{public}", getattr(value, public))
    else:
        yield f"{name} = {value!r}"


def lines_of_member(owner: str, name: str, value: object) -> Iterator[str]:
    if isinstance(value, classmethod | staticmethod):
        yield f"{owner}.{name}{inspect.signature(value.__func__)}"
    elif inspect.isfunction(value):
        yield f"{owner}.{name}{inspect.signature(value)}"
    else:
        yield f"{owner}.{name}"


def is_own(cls: type, member: str) -> bool:
    """Returns True if a class of karec defines it, not one of Python."""
    owners = [base for base in cls.__mro__ if member in vars(base) or member in inspect.get_annotations(base)]
    return bool(owners) and owners[0].__module__.startswith("karec")


def public_names() -> str:
    found = [line for name in PUBLIC for line in lines_of(f"karec.{name}", getattr(karec, name))]
    for name, value in sorted(vars(karec.pipeline.step).items()):
        if name in ("OnFailure", "SURVIVABLE") or (
            not name.startswith("_")
            and inspect.isroutine(value) | isinstance(value, type)
            and value.__module__ == "karec.pipeline.step"
        ):
            found.extend(lines_of(f"karec.pipeline.step.{name}", value))
    return "\n".join(found) + "\n"


def test_public_names_and_signatures_equal_the_golden_file():
    now, published = public_names(), GOLDEN.read_text(encoding="utf-8")
    difference = "\n".join(
        difflib.unified_diff(published.splitlines(), now.splitlines(), "published", "now", n=0)
    )
    assert now == published, (
        f"if it is wanted: python tests/test_public_names.py, and CHANGELOG.md\n{difference}"
    )


if __name__ == "__main__":
    GOLDEN.write_text(public_names(), encoding="utf-8")
