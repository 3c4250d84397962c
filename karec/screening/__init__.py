"""Screening: selects the uploads of a library that may be recommended.

settings.py         screen.toml, read and checked
library.py          the folder of uploads: days and shards
database.py         DuckDB, out of core
rules.py            rules and quotas in SQL
upload_rules.py     rules for one upload in Python
quality.py          the score of a model, or a column
candidates.py       rows that passed the rules, collected by batch
near_duplicates.py  nearly equal works of one song
levels.py           histograms of quality by cell
day_file.py         a day's candidates in a file
day.py              one day's uploads → that file
allocation.py       quotas as a linear program
selection.py        thresholds, and the kept works
screen.py           the whole screening
outcomes.py         later outcomes of works: training rows, and evaluation of screening
"""
