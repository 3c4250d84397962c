"""Online stores: in memory, in a SQLite file, or on a Valkey or Redis server."""
