"""Page links: opaque text that is bound to the caller."""

from __future__ import annotations

import base64
from collections.abc import Callable

from aggregator.api.caller import Principal
from aggregator.errors import Tampered
from aggregator.vault.key_service import KeyService
from aggregator.vault.seal import expand, header, unwrap, wrap


def sealer(key_service: KeyService, principal: Principal) -> tuple[Callable[[bytes], str], Callable[[str], bytes]]:
    """(seal, unseal): a page's place into URL-safe text and back; unseal raises ValueError for another caller's."""

    def seal(place: bytes) -> str:
        box = wrap(_key(key_service), header("page", "", name=principal.reader), place)
        return base64.urlsafe_b64encode(box).decode().rstrip("=")

    def unseal(text: str) -> bytes:
        try:
            box = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            return unwrap(_key(key_service), header("page", "", name=principal.reader), box)
        except Tampered:
            raise ValueError("not a page link") from None

    return seal, unseal


def _key(key_service: KeyService) -> bytes:
    return expand(key_service.handle("pages") * 2, "page")
