"""Random damages of a bundle's parts: ``python tests/bundle/fuzz_bundle.py [CASES [SEED]]``, or ``make
fuzz-bundle``.

Each case changes one to three files of a small bundle (bytes, arrays, members of archives, JSON, protocol
buffers), writes the manifest again and opens it in a child process that may take 1 GiB more than at its start
and STEP_S of processor time a case. It must open and serve requests, or be refused by a BundleError of one
line. A step of the cascade that raises Unavailable has served. The seed of a case is
printed where it has another outcome, and again opens the same case: CASES 1.
"""

import io
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))

import numpy as np
from damage import npy, reseal
from small_bundle import publish_small_bundle

from karec.bundle import Bundle
from karec.bundle.manifest import MANIFEST
from karec.errors import BundleError, Unavailable

GROWTH = 1 << 30
STEP_S = 30
ODD_NUMBERS = (0, -1, 1, 2**31, 2**62, -(2**63), float("nan"), float("inf"), 1e300, 0.5)
ODD_VALUES = (*ODD_NUMBERS, None, True, "", "x" * 300, [], {}, [1], ["a", "a"], [[0.5]], 10**400)


def bytes_of(whole: bytes, rng: random.Random) -> bytes:
    """Flipped, overwritten, cut out, doubled or added bytes."""
    data = bytearray(whole)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        at, n = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 4, 8, 100))
        what = rng.randrange(5)
        if what == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            data[at : at + n] = rng.choice((b"\0", b"\xff", b"\x7f", bytes([rng.randrange(256)]))) * n
        elif what == 2:
            del data[at : at + n]
        elif what == 3:
            data[at:at] = data[at : at + n]
        else:
            data[at:at] = rng.randbytes(n)
    return bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.1 else data)


def array_of(whole: bytes, rng: random.Random) -> bytes:
    """A value, the dtype or the shape of an array changed; the file is a .npy that holds it."""
    array = np.load(io.BytesIO(whole)).copy()
    what = rng.randrange(6)
    if what == 0 and array.size:
        with np.errstate(all="ignore"):
            array.flat[rng.randrange(array.size)] = odd_number(array.dtype, rng)
    elif what == 1:
        with np.errstate(all="ignore"):
            array = array.astype(
                rng.choice(("i1", "i4", "i8", "u8", "f2", "f4", "f8", "?", ">i8", "U3", "O", "c16"))
            )
    elif what == 2:
        array = array[: rng.randrange(len(array) + 1)]
    elif what == 3:
        array = np.concatenate([array, array])
    elif what == 4:
        array = rng.choice((array[None], array[:, None], array[::-1]))
    else:
        array = np.array(rng.sample(array.tolist(), len(array)), array.dtype)
    return npy(array)


def odd_number(dtype: np.dtype, rng: random.Random) -> object:
    if dtype.kind == "f":
        return rng.choice(ODD_NUMBERS)
    bounds = np.iinfo(dtype) if dtype.kind in "iu" else np.iinfo(np.uint8)
    return rng.choice((0, 1, bounds.min, bounds.max, rng.randint(int(bounds.min), int(bounds.max))))


def json_of(whole: bytes, rng: random.Random) -> bytes:
    """One value anywhere in a JSON text replaced, removed or doubled."""
    tree = [json.loads(whole)]
    places: list[tuple[object, object]] = []
    waiting: list[object] = [tree]
    while waiting:
        node = waiting.pop()
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                waiting.append(node[key])
    node, key = rng.choice(places)
    if rng.random() < 0.2 and node is not tree:
        del node[key]
    else:
        node[key] = rng.choice(ODD_VALUES)
    return json.dumps(tree[0]).encode()


def archive_of(whole: bytes, rng: random.Random) -> bytes:
    """A member changed, its head's JSON too, removed, renamed, doubled or compressed."""
    with zipfile.ZipFile(io.BytesIO(whole)) as file:
        members = [(member.filename, file.read(member)) for member in file.infolist()]
    at = rng.randrange(len(members))
    name, data = members[at]
    what = rng.randrange(6)
    if name == "head.npy" and what < 4:
        head = json_of(np.load(io.BytesIO(data)).tobytes(), rng)
        members[at] = name, npy(np.frombuffer(head, np.uint8))
    elif what < 3:
        members[at] = name, rng.choice((bytes_of, array_of))(data, rng)
    elif what == 3:
        del members[at]
    elif what == 4:
        members[at] = members[rng.randrange(len(members))][0] + rng.choice(("", "x")), data
    to = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if rng.random() < 0.1 else zipfile.ZIP_STORED
    with zipfile.ZipFile(to, "w", kind) as file:
        for name, data in members:
            file.writestr(name, data)
    return to.getvalue()


def damage(folder: Path, rng: random.Random) -> list[str]:
    """Changes one to three files, writes the manifest again and returns the names of the files."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    changed = []
    for name in rng.sample(names, rng.choice((1, 1, 1, 2, 3))):
        path = folder / name
        by_kind = {".npy": array_of, ".npz": archive_of, ".json": json_of}.get(path.suffix, bytes_of)
        change = bytes_of if rng.random() < 0.25 else by_kind
        if rng.random() < 0.05 and name != MANIFEST:
            path.unlink()
        elif name != MANIFEST:
            path.write_bytes(change(path.read_bytes(), rng))
        changed.append(name)
    reseal(folder)
    if MANIFEST in changed:
        path = folder / MANIFEST
        path.write_bytes(rng.choice((bytes_of, json_of))(path.read_bytes(), rng))
    return changed


def serve(folder: Path) -> str:
    """Opens the bundle and runs requests with each part that exists."""
    try:
        bundle = Bundle.open(folder)
        answer(bundle)
    except BundleError as error:
        return "refused" if str(error).isprintable() else f"a refusal of several lines: {error!r}"
    except Unavailable:
        return "served"
    return "served"


def answer(bundle: Bundle) -> None:
    """Uses the parts as a cascade does: a search, lists, and all models for known and unknown users."""
    there = {path.name for path in bundle.path.iterdir()}
    if "index.karec" in there:
        bundle.index.search(
            dict.fromkeys(bundle.index.model_versions, np.ones(bundle.index.dim, np.float32)), 5
        ) if len(bundle.index) else None
    if not {"snapshot", "encoder.npz"} <= there:
        return
    snapshot, encoder = bundle.snapshot, bundle.encoder
    for relation in snapshot.relations.values():
        for row in range(len(relation)):
            relation.row_values(row)
    items = encoder.encode_items(snapshot, np.arange(-1, len(snapshot.works)), snapshot.time_ms)
    for user in (*snapshot.users.ids[:3].tolist(), -9):
        inputs = encoder.encode_user(snapshot, user, snapshot.time_ms, 0)
        if "user_tower.onnx" in there:
            for tower in bundle.user_towers.values():
                tower.run(inputs, "user_vector")
        if "item_tower.onnx" in there:
            bundle.item_tower.run(items, "item_vector")
        if "ranker.onnx" in there:
            pairs = {**inputs, **items, **encoder.encode_crosses(inputs, items)}
            n = len(items["item_ids"])
            rows = {
                name: np.repeat(value, n, axis=0) if len(value) == 1 else value
                for name, value in pairs.items()
            }
            bundle.ranker.run(rows, "logits")


def child(bundle: Path, seeds: list[int]) -> None:
    """Prints a line of JSON for each seed: before it is tried, and its outcome."""
    answer(Bundle.open(bundle))
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + GROWTH, taken + GROWTH))
    for seed in seeds:
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime) + STEP_S
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        print(json.dumps([seed, "begun"]), flush=True)
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root) / "bundle"
            copied(bundle, folder)
            names = damage(folder, random.Random(seed))
            try:
                outcome = serve(folder)
            except BaseException as error:
                outcome = f"{type(error).__name__}: {str(error)[:300]}"
            print(json.dumps([seed, outcome, names]), flush=True)


def copied(bundle: Path, folder: Path) -> None:
    for path in bundle.rglob("*"):
        if path.is_file():
            to = folder / path.relative_to(bundle)
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(path.read_bytes())


def fuzz(n: int, seed: int) -> dict[str, list[int]]:
    """{outcome: seeds} of the cases ``seed`` … ``seed + n − 1``. A child that ends is followed by another
    one."""
    outcomes: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as root:
        bundle = publish_small_bundle(Path(root)).path
        left = list(range(seed, seed + n))
        while left:
            command = [sys.executable, __file__, "--child", str(bundle), json.dumps(left)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            tried = [json.loads(line) for line in done.stdout.splitlines()]
            for one, outcome, names in (line for line in tried if len(line) == 3):
                kind = outcome if outcome in ("served", "refused") else f"{outcome} {names}"
                outcomes.setdefault(kind, []).append(one)
                left.remove(one)
            if done.returncode:
                killed = tried[-1][0] if tried and tried[-1][0] in left else left[0]
                outcomes.setdefault(f"the process ended with {done.returncode}", []).append(killed)
                left.remove(killed)
    return outcomes


def main() -> int:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(2**40)
    print(f"{n} cases from seed {seed}", flush=True)
    outcomes = fuzz(n, seed)
    print(dict(Counter({kind: len(seeds) for kind, seeds in outcomes.items()})))
    wrong = {kind: seeds for kind, seeds in outcomes.items() if kind not in ("served", "refused")}
    for kind, seeds in wrong.items():
        print(f"seed {seeds[0]}: {kind}")
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), json.loads(sys.argv[3]))
    else:
        sys.exit(main())
