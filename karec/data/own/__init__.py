"""Data of one's own: files of any common shape, described by ``data.toml``, become a dataset.

contract.py   data.toml, read and checked
files.py      CSV, JSONL and Parquet as tables of one database
kinds.py      what a column holds: integers, numbers, text, moments, lists
events.py     the log → events with numbers for ids, every row that is left out counted by its reason
shapes.py     events → exposures: impressions, actions, positives alone
tables.py     items, users and relations → tables of a snapshot
load.py       all of it, in order
report.py     what was read, kept and left out
looking.py    a data.toml written by looking at files
"""
