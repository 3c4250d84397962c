"""Lines of keys: every key of a TOML file has one, whatever its spelling."""

import json
import tomllib

from hypothesis import given
from hypothesis import strategies as st

from karec.config.toml_lines import toml_lines

FILE = '''# a comment with = and [brackets]
a = 1
"b c" = """text
over = lines"""
d.e = [1, "x, ] # no comment", [2,   # a comment with ]
    3]]

[t.u]
v = { w = true, x = [{ y = 1979-05-27 }, { y = 'z' }] }
[[l]]
n = 1
[[l.m]]
o = 2
[[l.m]]
o = 3
[[l]]
[l.p]
q = 4
'''


def paths_of(value, path=()):
    """Every path of a parsed file."""
    if path:
        yield path
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, each in entries:
        yield from paths_of(each, (*path, key))


def test_every_key_has_the_line_that_it_stands_in():
    lines = toml_lines(FILE)
    assert set(lines) == set(paths_of(tomllib.loads(FILE)))
    at = {
        ("a",): 2,
        ("b c",): 3,
        ("d",): 5,
        ("d", "e", 2, 1): 6,
        ("t", "u", "v", "x", 1, "y"): 9,
        ("l", 0, "n"): 11,
        ("l", 0, "m", 1, "o"): 15,
        ("l", 1): 16,
        ("l", 1, "p", "q"): 18,
    }
    assert {path: lines[path] for path in at} == at


keys = st.from_regex(r"[a-z]{1,3}", fullmatch=True)
leaves = st.one_of(
    st.integers(), st.booleans(), st.text(st.characters(codec="ascii", exclude_characters="\x7f"))
)
values = st.recursive(
    leaves, lambda each: st.lists(each, max_size=3) | st.dictionaries(keys, each, max_size=3)
)


def written(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {written(each)}" for key, each in value.items()) + "}"
    return "[\n" + ",\n".join(map(written, value)) + "]" if isinstance(value, list) else json.dumps(value)


@given(st.dictionaries(keys, values, max_size=4), st.dictionaries(keys, values, max_size=3))
def test_no_key_is_missed_and_none_is_made_up(top, table):
    text = "".join(f"{key} = {written(value)}\n" for key, value in top.items())
    text += "[zzzz]\n" + "".join(f"{key} = {written(value)}\n" for key, value in table.items())
    assert set(toml_lines(text)) == set(paths_of(tomllib.loads(text)))
