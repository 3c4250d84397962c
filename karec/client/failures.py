"""What a call can end with beside an answer."""

from __future__ import annotations

from karec.errors import KarecError, one_line


class Problem(KarecError):
    """The service answered that it does not do it (RFC 9457).

    ``status``: of HTTP; ``title``, ``detail``: what is the matter; ``field``: the part of the request that it
    is about, as ``requests[3].k``, or None; ``retry_after``: seconds after which the service may do it, or
    None.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        field: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.status, self.title, self.detail, self.field, self.retry_after = (
            status,
            title,
            detail,
            field,
            retry_after,
        )
        about = "" if field is None else f"{field}: "
        super().__init__(one_line(f"{status} {title}" + (f": {about}{detail}" if detail or about else "")))


class Unreachable(KarecError):
    """No answer came: the connection failed or broke, or the time of the call was over."""
