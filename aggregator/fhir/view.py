"""What this package needs of a view: an open image with exactly what the caller may see, and the vault it is of."""

from __future__ import annotations

from typing import Protocol

from aggregator.vault.image import Image, Served


class View(Protocol):
    """A whole FHIR id in it is `<vault>.<local>`."""

    @property
    def image(self) -> Image:
        """Every resource in it may be shown to this caller, and no other is known here."""

    @property
    def vault(self) -> str:
        """The vault's id: 26 characters of base32."""


def local_id(view: View, whole: str) -> str | None:
    """The local part of a whole id, None where it is of another vault or of none."""
    vault, dot, local = whole.partition(".")
    return local if dot and vault == view.vault else None


def full_url(view: View, record: Served, base_url: str) -> str:
    """Where a resource is read."""
    return f"{base_url}/{record.resource_type}/{view.vault}.{record.local}"
