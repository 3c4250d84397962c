"""The state store: what is known of users and works up to this second, folded from the event log one event at
a time.

store.py      the protocol of a store; Conflict
memory.py     in this process
embedded.py   LMDB: a folder, one machine, any number of reading processes
remote.py     Redis or Valkey, by URL
opening.py    open_store("memory:", "redis://…" or a folder)
records.py    keys and values: layout, version, checksum
seen.py       which events were counted already
writer.py     StateWriter: events → states, with the log's cursor in one commit
reader.py     StateReader: a user's state, or works' counters, in one read
saving.py     a store in one file, and back
"""
