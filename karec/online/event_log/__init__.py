"""The event log: what users and creators did, append-only, in part files of any number of writers.

    FOLDER/log.json                               format, names of labels and scenes, how late an event may be
    FOLDER/2026-11-26T04/                         the hour (UTC) in which its events were appended
        part-WRITER-000000.open               frames with a checksum each, of a writer that lives or was
                                              killed
        part-WRITER-000000-CRC32.parquet      sealed: the same events in the same order

    events.py     one event's columns, kinds, and what is refused
    frames.py     an append as bytes: records, texts, a checksum
    head.py       log.json
    parts.py      names of part files; a sealed part
    writer.py     EventLogWriter
    tail.py       EventTail: what was appended after a cursor, in the order in which it was appended
    reader.py     read_events: the events of a stretch of time, in order, each once
    retention.py  hours that are too old are removed
    describe.py   what a log holds, for people

An event is named by (user_id, time_ms, source, number): one that is delivered again has the same four, and
counts once. ``source`` and ``number`` are 128 bits that whoever makes the event draws: the halves of a UUID,
or an id of the sender and a running number.
"""
