"""Names that people gave their devices and passkeys: for the vault's owner alone, all of one length at rest."""

from __future__ import annotations

import unicodedata

from aggregator.errors import CallerError
from aggregator.vault.encoding import canonical
from aggregator.vault.keys import Root
from aggregator.vault.seal import expand, header, lock, unlock

LONGEST = 60  # characters, at most four bytes each
_ROOM = 4 * LONGEST


def stated(text: str) -> str:
    """A label as somebody wrote it, without blanks around. Raises CallerError."""
    label = unicodedata.normalize("NFC", text).strip()
    if len(label) > LONGEST or any(unicodedata.category(character)[0] == "C" for character in label):
        raise CallerError(
            f"a name for a device or a passkey has at most {LONGEST} characters, without control characters"
        )
    return label


def seal(root: Root, vault: str, row: str, label: str) -> bytes:
    """What stands in the row with this id."""
    return lock(_key(root), _bound(vault, row), label.encode().ljust(_ROOM, b"\0"))


def read(root: Root, vault: str, row: str, box: bytes) -> str:
    """The label. Raises Tampered."""
    return unlock(_key(root), _bound(vault, row), box, "label").rstrip(b"\0").decode()


def _key(root: Root) -> bytes:
    return expand(root.owner_key(), "label")


def _bound(vault: str, row: str) -> bytes:
    return canonical(header("label", vault, name=row))
