"""The Python code of docs/online-features.md runs."""

import re
import subprocess
from pathlib import Path

import numpy as np
from live_bundle import live_config

from karec.cli.live import children_of
from karec.config.check import config_mistakes
from karec.config.scenes import Config

PAGE = Path(__file__).parents[2] / "docs" / "online-features.md"


def test_online_features_code_prints_what_the_page_says(tmp_path, monkeypatch, capsys):
    path, page = live_config(tmp_path / "demo"), PAGE.read_text(encoding="utf-8")
    text = path.read_text()
    path.write_text(text[: text.index("[online]")] + text[text.index("[scenes.home]") :])
    monkeypatch.chdir(tmp_path)
    (table,) = re.findall(r"printf .*", page)
    subprocess.run(["sh", "-c", table], check=True)
    assert config_mistakes(Path("demo/karec.toml")) == []
    (schedule,) = re.findall(r"^cat >> .*?^END$", page, re.DOTALL | re.MULTILINE)
    subprocess.run(["sh", "-c", schedule], check=True)
    assert config_mistakes(Path("demo/karec.toml")) == []
    assert [child.name for child in children_of(Config.read(Path("demo/karec.toml")), tmp_path)] == [
        "refresh",
        "train",
    ]
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    service = r"1 False\nFalse\n1\n\[\d+\] \[\('model', .*\)\]\nFalse \{'counted': 1, 'lifecycle': 2\}\n"
    assert re.match(service + r"\(4, Counter\(\)\)\n\(3, Counter\(\)\) 3\n", printed), printed
    assert 9 in names["user"].lists["follows"].values
    assert names["user"].lists["shown"].values.tolist() == [70, 10, 40]
    users, contents = names["snapshot"].users, names["contents"]
    before = [
        users[name][users.lookup(np.array([5]))[0]] if name in users.columns else 0
        for name in contents.counters
    ]
    np.testing.assert_array_equal(names["user"].counters - before, [3, 2, 1, 0])
