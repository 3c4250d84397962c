"""karec without its C++ extension: plain selections run in Numba, other calls raise ImportError."""

import subprocess
import sys

START = """
import sys
sys.modules["karec._native"] = None  # an import of it fails
import numpy as np
import karec
rng = np.random.default_rng(0)
vectors, relevance = rng.standard_normal((30, 4)).astype(np.float32), rng.standard_normal(30)
"""
BUILD = "Build it: pip install -e ."


def run(code):
    return subprocess.run(
        [sys.executable, "-c", START + code], capture_output=True, text=True, check=False, timeout=120
    )


SELECTIONS = """
weights = np.arange(1, 31)
results = [
    karec.diversity.dpp_select(vectors, relevance, 8, standardise=True, weights=weights, window=4).indices,
    karec.diversity.dpp_select(vectors, relevance, 8, alpha=2.0, ridge=0.0, fill=None).indices,
    karec.diversity.mmr_select(vectors, relevance, 8, diversity=0.4, standardise=True).indices,
    karec.diversity.ssd_select(vectors, relevance, 8, window=3).indices,
]
print([indices.tolist() for indices in results])
"""


def test_plain_selections_match_the_extension_after_one_warning():
    plain = run(SELECTIONS)
    assert plain.returncode == 0, plain.stderr
    native = run(SELECTIONS.replace("weights =", 'del sys.modules["karec._native"]\nweights =', 1))
    assert native.stderr == "" and plain.stdout == native.stdout
    assert plain.stderr.count("Warning") == 1 and "RuntimeWarning: dpp_select, mmr_select" in plain.stderr
    assert BUILD in plain.stderr


def test_score_top_k_needs_no_extension():
    done = run("from karec.kernels.scoring import score_top_k\nprint(score_top_k(vectors, vectors[3], 1)[1])")
    assert (done.stdout, done.stderr) == ("[3]\n", "")


CALLS = {  # call: start of the message
    "karec.diversity.dpp_select(vectors, relevance, 3, types=np.arange(30))": "dpp_select: types",
    "karec.diversity.dpp_select(vectors, relevance, 3, shown=vectors)": "dpp_select: shown",
    "karec.diversity.mmr_select(vectors, relevance, 3, shown=vectors)": "mmr_select: shown",
    "karec.diversity.dpp_select_kernel(np.eye(3), 3)": "dpp_select_kernel",
    "karec.diversity.arrange(1, [], 1)": "arrange",
    "import karec.index": "",
    "import karec.config": "",
    "import karec.features.encoder": "",
    "karec.ItemIndex": "",
}
ERRORS = f"""
for call in {list(CALLS)}:
    try:
        exec(call)
    except ImportError as error:
        print(call, error, sep="|")
"""


def test_other_calls_raise_import_error_with_the_build_command():
    done = run(ERRORS)
    assert done.returncode == 0, done.stderr
    errors = dict(line.split("|") for line in done.stdout.splitlines())
    assert list(errors) == list(CALLS)
    for call, name in CALLS.items():
        subject = f"{name} has no Numba version: " if name else ""
        assert errors[call].startswith(f"{subject}karec's C++ extension cannot be imported (")
        assert errors[call].endswith(BUILD)
