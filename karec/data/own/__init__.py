"""Data of one's own: files of any common shape, described by ``data.toml``, become a dataset.

contract.py   data.toml, read and checked
presets.py    those of public data sets, which come with the package
cells.py      what it says of cells: checks, logs
checks.py     those checks, in SQL
files.py      CSV, JSONL and Parquet as tables of one database
kinds.py      what a column holds: integers, numbers, text, moments, lists
places.py     rows of a reader → lines of a file
events.py     the log, cleaned
reasons.py    why rows are left out: how many, and where
tables.py     items and users → tables of a snapshot
values.py     pairs of an item and a value → columns of items
columns.py    what each of their columns becomes
numbering.py  ids → numbers, in the log and in relations
shapes.py     the log → exposures: impressions, actions, positives alone
timeless.py   a log without times: made-up moments
negatives.py  negatives for positives alone
past.py       what was before, as lists without moments
exposures.py  that table, out of the database
dataset.py    exposures and tables → a dataset
load.py       all of it, in order
report.py     what was read, kept and left out
looking.py    which table is the log, which column is what
draft.py      a data.toml written by looking
"""
