"""A text as searches compare it, without case and accents. https://hl7.org/fhir/R4/search.html#string."""

from __future__ import annotations

import unicodedata


def fold(text: str) -> str:
    """In lower case, each character without the marks on it; ß as ss."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character))
