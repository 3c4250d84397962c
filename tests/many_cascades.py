"""Many random cascades (fixtures/random_cascades.py): ``python tests/many_cascades.py [CASES [SEED]]``, or
``make fuzz-cascades``. The seed of a case is the first one plus its number; again opens the same cascade:
CASES 1.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "fixtures"))

from random_cascades import check


def main(cases: int, first: int) -> None:
    begin = time.monotonic()
    for done, seed in enumerate(range(first, first + cases), 1):
        try:
            check(seed)
        except BaseException as error:
            error.add_note(f"the cascade of seed {seed}")
            raise
        if done % max(cases // 20, 1) == 0:
            print(f"{done:,} of {cases:,} cascades, {time.monotonic() - begin:.0f} s", flush=True)
    print(
        f"no work was lost, invented or duplicated in {cases:,} cascades of seeds {first} … "
        f"{first + cases - 1}"
    )


if __name__ == "__main__":
    numbers = [int(given) for given in sys.argv[1:]]
    main(numbers[0] if numbers else 100_000, numbers[1] if len(numbers) > 1 else 0)
