"""What the pages say, in German and English: one table a page (`words/<page>.toml`), both languages side by side."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Literal

Language = Literal["de", "en"]
LANGUAGES: tuple[Language, ...] = ("de", "en")
EVERYWHERE = "frame"
"""The table of what every page may say."""

Say = Callable[..., str]
_ACCEPTED = re.compile(r"\s*([A-Za-z]{2})(?:-[\w-]+)?\s*(?:;\s*q=([\d.]+))?\s*")


class Words:
    """All tables, read once."""

    def __init__(self) -> None:
        folder = files("aggregator.portal") / "words"
        self._tables: dict[str, Mapping[str, Mapping[str, str]]] = {
            file.name.removesuffix(".toml"): tomllib.loads(file.read_text(encoding="utf-8"))
            for file in folder.iterdir()
        }

    def of(self, page: str, language: Language) -> Say:
        """What a page says: `say(key, **values)`. Raises KeyError for what has no words."""
        table = {**self._tables[EVERYWHERE], **self._tables.get(page, {})}

        def say(key: str, **values: object) -> str:
            return table[key][language].format(**values)

        return say


def chosen(setting: str, accepted: str) -> Language:
    """The language: the one that the person set here, else the browser's first that is spoken here, else German."""
    if setting in LANGUAGES:
        return LANGUAGES[LANGUAGES.index(setting)]
    found = [_weighed(one) for one in accepted.split(",")]
    spoken = [(weight, code) for weight, code in found if code in LANGUAGES and weight > 0]
    best = max(spoken, key=lambda one: one[0], default=(0.0, LANGUAGES[0]))[1]
    return LANGUAGES[LANGUAGES.index(best)]


def _weighed(accepted: str) -> tuple[float, str]:
    """One part of Accept-Language: https://www.rfc-editor.org/rfc/rfc9110#section-12.5.4"""
    match = _ACCEPTED.fullmatch(accepted)
    try:
        return (float(match[2] or 1), match[1].lower()) if match else (0.0, "")
    except ValueError:
        return 0.0, ""
