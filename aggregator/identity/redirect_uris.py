"""Where an app may have the browser sent back to: what can be registered, and what matches it.

https://www.rfc-editor.org/rfc/rfc9700#section-2.1 (compared as text, nothing else) and, for native apps, the loopback
addresses of https://www.rfc-editor.org/rfc/rfc8252#section-7.3. Names like `localhost` and schemes of an app's own are
not taken: others can answer for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

LOOPBACK = frozenset({"127.0.0.1", "::1"})
_LONGEST = 2000  # characters


def fault(uri: str) -> str:
    """What is wrong with a redirect URI that somebody wants to register; empty where it can be one."""
    if len(uri) > _LONGEST or not uri.isascii() or not uri.isprintable() or " " in uri or "\\" in uri:
        return f"is no URI of at most {_LONGEST} ASCII characters"
    parts = _split(uri)
    if parts is None or not parts.hostname:
        return "is no absolute URI with a host"
    if parts.scheme != "https" and not _is_loopback(parts):
        return "must be https, or http to 127.0.0.1 or [::1]"
    if "#" in uri or parts.username is not None or "*" in uri:
        return "must have no fragment, no user name and no wildcard"
    return ""


def matches(registered: Iterable[str], asked: str) -> bool:
    """Is it one of those registered, character by character? A loopback one without a port takes any port."""
    return any(asked == one or (_any_port(one) and _without_port(asked) == one) for one in registered)


def _any_port(uri: str) -> bool:
    parts = _split(uri)
    return parts is not None and _is_loopback(parts) and parts.netloc == _host(parts)


def _without_port(uri: str) -> str:
    parts = _split(uri)
    if parts is None or not _is_loopback(parts) or parts.netloc != f"{_host(parts)}:{parts.port}":
        return ""
    return uri.replace(parts.netloc, _host(parts), 1)


def _host(parts: SplitResult) -> str:
    return f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""


def _is_loopback(parts: SplitResult) -> bool:
    return parts.scheme == "http" and parts.hostname in LOOPBACK


def _split(uri: str) -> SplitResult | None:
    try:
        parts = urlsplit(uri)
        _ = parts.port  # raises where it is none
    except ValueError:
        return None
    return parts
