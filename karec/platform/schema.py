"""What the names of columns and labels mean."""

from __future__ import annotations

WORK_COLUMNS = ("creator_id", "song_id", "type", "tag", "upload_ms")  # of every table of works
