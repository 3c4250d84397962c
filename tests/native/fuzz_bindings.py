"""Random arguments for every binding: ``python tests/native/fuzz_bindings.py [CASES [SEED]]``, or ``make
fuzz-bindings``.

The stubs name every function and method of ``karec._native`` and of the Cython modules of
``karec.kernels``. Each case calls one of them with good arguments, of which a few are changed: dtype,
byte order, alignment, strides, flags, subclass, rank, length, odd values, negative and huge numbers,
other types. The call must return, or raise an error of ALLOWED. An argument that is only stored in
another way must give the same result or an error, and no argument may be written. The cases run in child
processes, which may take 1 GiB more memory than at their start and STEP_S of processor time a case. The
program prints the seed of each other outcome; CASES 1 with this seed repeats the case.
"""

import json
import mmap
import os
import random
import resource
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from argument_changes import IS_ASAN, ChangingArray, change, convert_layouts, find_arrays
from binding_calls import Binding, Call, bindings, item_index, string_ids

from karec.errors import IndexFormatError, Unavailable

ALLOWED = (
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    MemoryError,
    OSError,
    IndexFormatError,
    Unavailable,
)
GROWTH = 1 << 30
STEP_S = 20  # processor time
BATCH = 2000  # cases of one child process
BATCH_S = 1800  # time of one child process: longer is a deadlock
MIN_ANSWERED_FRACTION = 0.02  # of the calls of a function; fewer test only its checks


def is_same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and a.tobytes() == b.tobytes()
        )
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(is_same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(is_same(value, b[key]) for key, value in a.items())
    if isinstance(a, float):
        return isinstance(b, float) and struct.pack("d", a) == struct.pack("d", b)
    return type(a) is type(b) and (a == b or type(a).__module__ == "karec._native")


def run_case(binding: Binding, seed: int) -> str:
    """Returns "answered", "rejected" or what is wrong."""
    rng = random.Random(f"changes {seed}")
    is_layout = rng.random() < 0.3
    call = binding.good_call(seed)
    if is_layout:
        expected = run(binding.good_call(seed))
        convert_layouts(call, rng)
    else:
        change(call, rng)
    inputs = [array for array in find_arrays([call.arguments, call.options]) if array.nbytes < 1 << 16]
    before = [array.tobytes() for array in inputs if array.dtype.kind != "O"]
    result = run(call)
    if isinstance(result, BaseException):
        return "rejected" if isinstance(result, ALLOWED) else f"{type(result).__name__}: {str(result)[:300]}"
    changing = any(isinstance(value, ChangingArray) for value in [*call.arguments, *call.options.values()])
    if not changing and before != [array.tobytes() for array in inputs if array.dtype.kind != "O"]:
        return "an argument was written"
    if is_layout and not is_same(result, expected):
        return f"another result for another layout: {result!r}, expected {expected!r}"[:600]
    return "answered"


def run(call: Call) -> Any:
    """Returns the result, or the exception."""
    try:
        return call.function(*call.arguments, **call.options)
    except BaseException as error:
        return error


def limit_memory() -> None:
    if IS_ASAN:
        return
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + GROWTH, size + GROWTH))


def limit_time() -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(usage.ru_utime + usage.ru_stime) + STEP_S
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def child(progress: str, first: int, end: int) -> None:
    """Runs the cases, writes the seed of the running one to `progress` and prints their outcomes."""
    functions = bindings()
    with open(progress, "r+b") as file, mmap.mmap(file.fileno(), 8) as running:
        os.makedirs("good", exist_ok=True)
        rng = np.random.default_rng(0)
        string_ids(rng)
        item_index(rng).save(b"good/index")
        limit_memory()
        outcomes: Counter[tuple[str, str]] = Counter()
        for seed in range(first, end):
            running[:8] = struct.pack("q", seed)
            limit_time()
            binding = functions[random.Random(seed).randrange(len(functions))]
            outcome = run_case(binding, seed)
            if outcome not in ("answered", "rejected"):
                outcome = f"seed {seed}: {outcome}"
            outcomes[binding.name, outcome] += 1
    print(json.dumps([[*key, n] for key, n in outcomes.items()]))


def fuzz(n: int, seed: int) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Runs the cases ``seed`` … ``seed + n − 1``. Returns calls by function and outcome, and mistakes."""
    outcomes: Counter[tuple[str, str]] = Counter()
    mistakes: list[str] = []
    first = seed
    with tempfile.TemporaryDirectory() as folder:
        progress = Path(folder) / "progress"
        while first < seed + n:
            end = min(first + BATCH, seed + n)
            progress.write_bytes(struct.pack("q", first - 1))
            command = [
                sys.executable,
                "-W",
                "ignore",
                __file__,
                "--child",
                str(progress),
                str(first),
                str(end),
            ]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, check=False, cwd=folder, timeout=BATCH_S
                )
                status = f"ended with {done.returncode}: {done.stderr[-3000:]}" if done.returncode else ""
            except subprocess.TimeoutExpired:
                status = f"did not end in {BATCH_S} s"
            if status:
                (failed,) = struct.unpack("q", progress.read_bytes())
                if failed < first:
                    raise RuntimeError(f"the process runs no case: it {status}")
                first = failed
                binding = bindings()[random.Random(first).randrange(len(bindings()))]
                mistakes.append(f"seed {first}: {binding.name}: the process {status}")
                first += 1
                continue
            for name, outcome, count in json.loads(done.stdout):
                if outcome in ("answered", "rejected"):
                    outcomes[name, outcome] += count
                else:
                    mistakes.append(f"{outcome.split(':')[0]}: {name}{outcome[outcome.index(':') :]}")
            first = end
    return outcomes, mistakes


def find_untested(outcomes: Counter[tuple[str, str]]) -> list[str]:
    """Returns functions whose calls are nearly all rejected."""
    names = sorted({name for name, _ in outcomes})
    found = []
    for name in names:
        answered, rejected = outcomes[name, "answered"], outcomes[name, "rejected"]
        if answered + rejected >= 200 and answered < MIN_ANSWERED_FRACTION * (answered + rejected):
            found.append(
                f"{name}: {answered} of {answered + rejected} calls were answered; add values to VALUES"
            )
    return found


def main() -> int:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(2**40)
    print(f"{n} cases from seed {seed}, {len(bindings())} functions", flush=True)
    outcomes, mistakes = fuzz(n, seed)
    totals = {
        kind: sum(n for (_, outcome), n in outcomes.items() if outcome == kind)
        for kind in ("answered", "rejected")
    }
    print(totals)
    mistakes += find_untested(outcomes)
    print("\n".join(mistakes))
    return 1 if mistakes else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        sys.exit(main())
