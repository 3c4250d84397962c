"""Reads and writes folders of an object store by URL (``s3://``, ``gs://``, ``file://``) through pyarrow.

    s3://bucket/path?region=eu-central-1
    s3://bucket/path?endpoint_override=minio:9000&scheme=http

Credentials come from the environment (``AWS_ACCESS_KEY_ID``, a role, …). A URL that contains credentials is
refused, and no message contains the query of a URL.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from karec.errors import MissingExtra, one_line

SCHEMES = ("s3", "gs", "file")
SECRETS = ("access_key", "secret_key", "session_token")  # in the query of a URL
PIECE_BYTES = 1 << 20
CREDENTIALS = "set credentials in the environment, for example AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def is_url(text: str) -> bool:
    return "://" in text


class ObjectFolder:
    """A folder of an object store. Any thread may call.

    Methods raise OSError of one line that names the object: FileNotFoundError if it does not exist.
    """

    def __init__(self, url: str) -> None:
        """Connects to nothing. Raises ValueError if ``url`` is not a URL of an object store."""
        parts = urlsplit(url)
        shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")
        self.display = shown.geturl().rstrip("/")
        if parts.scheme not in SCHEMES:
            raise ValueError(f"{self.display} is not a URL of an object store, expected one of {SCHEMES}")
        if "@" in parts.netloc and parts.netloc.partition("@")[0] != "anonymous":
            raise ValueError(f"{self.display}: the URL contains credentials; {CREDENTIALS}")
        if not {name for name, _ in parse_qsl(parts.query)}.isdisjoint(SECRETS):
            raise ValueError(f"{self.display}: the URL contains credentials; {CREDENTIALS}")
        if parts.scheme != "file" and not parts.netloc:
            raise ValueError(f"{self.display} has no bucket, expected {parts.scheme}://BUCKET/PATH")
        self._url = url

    def __str__(self) -> str:
        return self.display

    def read(self, name: str, max_bytes: int) -> bytes:
        """Raises ValueError if the object has more bytes."""
        data = b"".join(self.read_pieces(name, max_bytes + 1))
        if len(data) > max_bytes:
            raise ValueError(f"{self.display}/{name} has more than {max_bytes} bytes")
        return data

    def read_pieces(self, name: str, max_bytes: int) -> Iterator[bytes]:
        """Yields the first ``max_bytes`` of an object in pieces."""
        with self._errors(name), self._filesystem.open_input_stream(self._path(name)) as stream:
            while max_bytes > 0 and (piece := stream.read(min(PIECE_BYTES, max_bytes))):
                max_bytes -= len(piece)
                yield piece

    def write(self, name: str, data: bytes) -> None:
        with self._errors(name), self._open_output(name) as stream:
            stream.write(data)

    def upload(self, path: Path, name: str) -> None:
        """Copies a file, then compares the size of the object."""
        with path.open("rb") as file, self._errors(name), self._open_output(name) as stream:
            while piece := file.read(PIECE_BYTES):
                stream.write(piece)
        if self.size(name) != path.stat().st_size:
            raise OSError(f"{self.display}/{name} has {self.size(name)} bytes after the upload of {path}")

    def remove(self, name: str) -> None:
        with self._errors(name):
            self._filesystem.delete_file(self._path(name))

    def size(self, name: str) -> int | None:
        """Returns the bytes of an object; None if it does not exist."""
        with self._errors(name):
            info = self._filesystem.get_file_info(self._path(name))
        size: int | None = info.size if info.is_file else None
        return size

    def names(self, suffix: str) -> list[str]:
        """Returns the names of the objects in this folder that end in ``suffix``, sorted."""
        return list(self.change_times_s(suffix))

    def change_times_s(self, suffix: str) -> dict[str, float]:
        """Returns {name: Unix s of its last change} of these objects, sorted by name."""
        from pyarrow.fs import FileSelector

        with self._errors(""):
            infos = self._filesystem.get_file_info(FileSelector(self._path(""), allow_not_found=True))
        files = [info for info in infos if info.is_file and info.base_name.endswith(suffix)]
        return {
            info.base_name: info.mtime_ns / 1e9 for info in sorted(files, key=lambda file: file.base_name)
        }

    def open_input(self, name: str) -> Any:
        """Returns a pyarrow file with random access."""
        with self._errors(name):
            return self._filesystem.open_input_file(self._path(name))

    def _open_output(self, name: str) -> Any:
        path = self._path(name)
        if self._filesystem.type_name == "local":
            self._filesystem.create_dir(path.rpartition("/")[0])
        return self._filesystem.open_output_stream(path)

    @property
    def _filesystem(self) -> Any:
        return _connect(self._url)[0]

    def _path(self, name: str) -> str:
        base: str = _connect(self._url)[1]
        return f"{base.rstrip('/')}/{name}" if name else base

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        place = f"{self.display}/{name}" if name else self.display
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{place} does not exist") from error
        except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
            raise OSError(one_line(f"{place}: {error}".replace(self._url, self.display))) from error


@lru_cache
def _connect(url: str) -> tuple[Any, str]:
    """Returns the file system and the path in it."""
    try:
        from pyarrow.fs import FileSystem
    except ImportError as error:
        raise MissingExtra("pyarrow", "online", "a URL of an object store") from error
    filesystem, path = FileSystem.from_uri(url)
    return filesystem, path
