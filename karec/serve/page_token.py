"""Tokens of next pages: what a user has seen of a list, signed, so that no host keeps it.

    token    base64url(MAC, content)
    MAC      HMAC-SHA256 with the key, the first 16 bytes
    content  msgpack of (hash of the context, pages so far, time of issue in s, ids shown, newest last)

The context is the user, the scene and the restrictions of the request. All hosts of a service have the same
keys (``[serve] page_key``): the first one signs, all of them are accepted.
Source: H. Krawczyk, M. Bellare, R. Canetti, HMAC, RFC 2104, 1997.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any

import msgspec

from karec.serve.problems import ProblemError

MAC_BYTES, CONTEXT_BYTES = 16, 16
MAX_TOKEN_LETTERS = 4096
VALID_S = 3600  # a later call begins again, with newer items

Id = int | str


class _Content(msgspec.Struct, frozen=True, array_like=True):
    context: bytes
    n_pages: int
    issued_s: int
    shown: tuple[Id, ...]


def context_of(*parts: Any) -> bytes:
    """Returns a hash of what must be equal in all calls of one list."""
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=CONTEXT_BYTES).digest()


def make_token(key: bytes, context: bytes, n_pages: int, shown: Sequence[Id], now_s: int) -> str:
    """Returns the token after ``n_pages`` pages. The oldest ids are left out beyond MAX_TOKEN_LETTERS."""
    ids = tuple(shown)
    while True:
        content = msgspec.msgpack.encode(_Content(context, n_pages, now_s, ids))
        token = urlsafe_b64encode(_mac(key, content) + content).decode()
        if len(token) <= MAX_TOKEN_LETTERS:
            return token
        ids = ids[max(len(ids) // 16, 1) :]


def read_token(
    keys: Sequence[bytes], context: bytes, token: str, now_s: int, field: str = "after"
) -> tuple[int, tuple[Id, ...]]:
    """Returns the number of pages and the ids shown.

    Raises ProblemError 400 for a token that is forged, too old, or of another request.
    """
    try:
        data = urlsafe_b64decode(token.encode("ascii"))
    except ValueError:  # letters that are not ASCII or not base64
        data = b""
    mac, content = data[:MAC_BYTES], data[MAC_BYTES:]
    if not any(hmac.compare_digest(mac, _mac(key, content)) for key in keys):
        raise ProblemError(400, "the token is damaged, or another service issued it", field)
    try:
        issued = msgspec.msgpack.decode(content, type=_Content)
    except msgspec.DecodeError:
        raise ProblemError(
            400, "the token is of another version: ask for the first page again", field
        ) from None
    if now_s - issued.issued_s > VALID_S:  # below 0: the clock of the host that issued it is ahead
        raise ProblemError(400, f"the token is older than {VALID_S} s: ask for the first page again", field)
    if issued.context != context:
        reason = "the token is of a request with another user, scene, where, exclude_ids or only_ids"
        raise ProblemError(400, reason, field)
    return issued.n_pages, issued.shown


def _mac(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")[:MAC_BYTES]
