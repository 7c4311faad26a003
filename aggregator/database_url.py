"""PostgreSQL's URL as an operator may write it: without a password, and never over a network in the clear.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from aggregator.errors import OperatorError

_DRIVER = "postgresql+psycopg"
_EXAMPLE = f"{_DRIVER}://aggregator@localhost/aggregator"
_VERIFIED = ("verify-full", "verify-ca")
_KNOWN = frozenset(
    {"host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "application_name", "connect_timeout"}
    | {"target_session_attrs", "channel_binding", "keepalives_idle"}
)
_OTHERS_MAY_READ = 0o077


def problem(text: str) -> str:
    """What is wrong with a URL and what would be right; "" for a sound one. Quotes nothing: it may hold a secret."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        return f"this is no database URL; write it like {_EXAMPLE}"
    if url.drivername != _DRIVER:
        return f"the URL must begin with {_DRIVER}://; for SQLite leave it empty and set store.path"
    if url.password is not None or "password" in url.query:
        return "take the password out of the URL and put it in a file that only this user may read: store.password_file"
    if unknown := sorted(set(url.query) - _KNOWN):
        return f"the parameter {unknown[0]} is not taken; known here: {', '.join(sorted(_KNOWN))}"
    if not url.database:
        return f"the URL names no database; write it like {_EXAMPLE}"
    hosts = _hosts(url)
    if not hosts:
        return f"the URL names no host; write it like {_EXAMPLE}, or end it with ?host=/var/run/postgresql"
    if not all(map(_here, hosts)) and url.query.get("sslmode") not in _VERIFIED:
        return "a server on another machine is reached by TLS with its name proven: add ?sslmode=verify-full"
    return ""


def with_password(text: str, file: Path | None) -> URL:
    """The URL with the file's first line as password; without a file libpq's own ways count. Raises OperatorError."""
    url = make_url(text)
    if file is None:
        return url
    try:
        mode = file.stat().st_mode
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"store.password_file: {file} cannot be read ({type(error).__name__})") from None
    if mode & _OTHERS_MAY_READ:
        raise OperatorError(f"store.password_file: others may read {file}; run chmod 600 on it")
    if not lines or not lines[0]:
        raise OperatorError(f"store.password_file: {file} is empty; its first line is the password")
    return url.set(password=lines[0])


def _hosts(url: URL) -> list[str]:
    named = url.query.get("host", ())
    listed = [named] if isinstance(named, str) else [*named]
    several = [host for one in listed for host in one.split(",")]
    return [_without_port(host) for host in several] + ([url.host] if url.host else [])


def _without_port(host: str) -> str:
    """SQLAlchemy takes several hosts as host:port."""
    return host.partition(":")[0] if host.count(":") == 1 and not host.startswith("/") else host


def _here(host: str) -> bool:
    """This machine: a socket's folder, or loopback."""
    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
