"""Screening: which of a library's uploads may be recommended at all.

settings.py         screen.toml, read and checked
library.py          the folder of uploads: its days and shards
database.py         DuckDB, out of core
rules.py            rules and quotas in SQL
quality.py          a model's score, or a column
candidates.py       what passed rules, gathered batch by batch
near_duplicates.py  works of one song that are nearly the same
levels.py           histograms of quality by cell
day_file.py         a day's candidates in a file
day.py              one day's uploads → that file
allocation.py       quotas, as one linear program
selection.py        thresholds, and the kept works
screen.py           all of it
outcomes.py         what later became of works: rows to learn from, and to judge screening by
"""
