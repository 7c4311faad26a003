"""What stands around a resource in a searchset Bundle: https://hl7.org/fhir/R4/bundle.html#searchset

Images hold it around their bodies, so that a page of a whole record is sent as it lies there. The URLs need no
escaping: they are made of a configured address, a type's name and base32.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aggregator.vault.image import Served
from aggregator.vault.index_rows import Frame

MATCH, INCLUDE = b',"search":{"mode":"match"}}', b',"search":{"mode":"include"}}'
"""What follows a resource that was asked for, and one that comes beside it."""
_RESOURCE = b'","resource":'


def frame(base_url: str, vault: str) -> Frame:
    """That of a match, with the comma that parts it from the one before."""
    urls = _Urls(base_url, vault)
    return Frame(lambda kind, local: urls[kind] + local.encode() + _RESOURCE, MATCH)


def entries(base_url: str, vault: str, shown: Iterable[Served], behind: bytes) -> Sequence[bytes]:
    """Each in its frame."""
    form, urls = b"%b%b" + _RESOURCE + b"%b" + behind, _Urls(base_url, vault)
    return [form % (urls[kind], local.encode(), body) for kind, local, body, _ in shown]


class _Urls(dict[str, bytes]):
    """Resource type -> how an entry of this vault begins, up to the local id."""

    def __init__(self, base_url: str, vault: str) -> None:
        super().__init__()
        self._base_url = base_url
        self._vault = vault

    def __missing__(self, kind: str) -> bytes:
        url = self[kind] = f',{{"fullUrl":"{self._base_url}/{kind}/{self._vault}.'.encode()
        return url
