"""Page links: opaque text that is bound to the caller, and says in which vault an answer goes on."""

from __future__ import annotations

import base64

from aggregator.errors import Tampered
from aggregator.fhir.page import Links
from aggregator.vault.encoding import canonical
from aggregator.vault.key_service import KeyService
from aggregator.vault.seal import expand, header, lock, unlock


class Pages:
    """Seals and opens page links of one installation."""

    def __init__(self, key_service: KeyService, base_url: str) -> None:
        self._key = expand(key_service.handle("pages") + key_service.handle("pages", "2"), "page")
        self._base_url = base_url

    def links(self, reader: str, vault: str, beyond: str | None = None, *, partial: bool = False) -> Links:
        """How an answer about this vault makes its links. beyond, partial: as in Links, for one of several records."""

        def unseal(text: str) -> bytes:
            where, place = self.open(reader, text)
            if where != vault:
                raise ValueError("a page link of another record")
            return place

        return Links(
            base_url=self._base_url,
            seal=lambda place: self.seal(reader, vault, place),
            unseal=unseal,
            beyond=beyond,
            partial=partial,
        )

    def seal(self, reader: str, vault: str, place: bytes = b"") -> str:
        """The text of a page's place in a vault; an empty place is its beginning."""
        box = lock(self._key, _bound(reader, vault), place)
        return base64.urlsafe_b64encode(vault.encode() + b"/" + box).decode().rstrip("=")

    def open(self, reader: str, text: str) -> tuple[str, bytes]:
        """(vault, place). Raises ValueError for text that was not sealed for this reader."""
        vault, _, box = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).partition(b"/")
        try:
            place = unlock(self._key, _bound(reader, vault.decode()), box, "page link")
        except Tampered:
            raise ValueError("not a page link") from None
        return vault.decode(), place


def _bound(reader: str, vault: str) -> bytes:
    """What a link's box is authenticated with: it opens for this reader and this vault alone."""
    return canonical(header("page", vault, name=reader))
