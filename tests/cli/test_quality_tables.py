"""Tables of ``karec evaluate models`` and ``karec train``."""

from rich.console import Console

from karec.cli.evaluate import quality_tables

BALANCE = {"click": {"item": 0.9, "item_ci": (0.8, 1.0), "personal": 1.5, "personal_ci": (1.4, 1.6)}}


def print_tables(quality, capsys):
    console = Console(width=200)
    for table in quality_tables(quality | {"balance": BALANCE}, ["click"]):
        console.print(table)
    return " ".join(capsys.readouterr().out.split())  # titles are broken into lines


def test_quality_tables_have_the_agreement_with_intervals(capsys):
    names = ("top10", "top100", "top10_few", "top100_few")
    kept = dict(zip(names, (0.99, 0.875, None, None), strict=True))
    intervals = {f"{name}_ci": None if kept[name] is None else (0.8, 1.0) for name in names}
    sizes = {"pools": 1_200, "items": 2_000, "kept": 200}
    text = print_tables({"models": {}, "agreement": {**sizes, **kept, **intervals}}, capsys)
    assert "best 200 of 2,000, 1,200 pools" in text and "top 100, few" in text
    assert "0.990 [0.800, 1.000]" in text and "0.875 [0.800, 1.000]" in text and "–" in text


def test_quality_tables_of_few_items_have_no_agreement(capsys):
    assert "top 100" not in print_tables({"models": {}, "agreement": None}, capsys)


def test_quality_tables_have_the_balance_of_the_ranker(capsys):
    text = print_tables({"models": {}, "agreement": None}, capsys)
    assert "0.90 [0.80, 1.00]" in text and "1.50 [1.40, 1.60]" in text
