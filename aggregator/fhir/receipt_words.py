"""A receipt in one sentence, in German and English: who did what with the record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aggregator.vault.keys import OWNER

Words = tuple[str, str]
"""German, English."""

_BY_KIND: Mapping[str, Words] = {
    "exported": ("Sie haben Ihre ganze Akte mitgenommen.", "You took your whole record along."),
    "imported": ("Sie haben Ihre Akte hierher mitgebracht.", "You brought your record here."),
    "shared": (
        "Sie haben etwas aus Ihrer Akte für einen Link bereitgelegt.",
        "You put something behind a link.",
    ),
    "unshared": ("Sie haben einen Link beendet.", "You ended a link."),
    "written": (
        "Sie haben {written_de} in Ihrer Akte geschrieben oder gelöscht.",
        "You wrote or deleted {written_en} in your record.",
    ),
    "refused": (
        "{name} wollte Ihre Akte lesen und durfte nicht.",
        "{name} wanted to read your record and was not allowed to.",
    ),
    "damaged": (
        "Hier wurde etwas verändert oder entfernt: bitte den Betreiber fragen.",
        "Something was changed or removed here: please ask the operator.",
    ),
    "released": (
        "Der Betreiber hat Ihren Anmeldenamen freigegeben; wer sich vorher anmeldet, behält ihn.",
        "The operator released your login; whoever signs in before keeps it.",
    ),
    "deposited": (
        "{name} hat {added_de} in Ihre Akte gelegt.",
        "{name} added {added_en} to your record.",
    ),
    "stopped": (
        "Der Betreiber hat einen Zugriff auf Ihre Akte beendet.",
        "The operator ended somebody's access to your record.",
    ),
    "restored": (
        "Ihre Akte wurde aus einer Sicherung wiederhergestellt; was danach geschah, fehlt hier.",
        "Your record was restored from a backup; what happened after it is missing here.",
    ),
    "requested": (
        "{name} hat um Einsicht in Ihre Akte gebeten.",
        "{name} asked to be let into your record.",
    ),
    "opened": ("{name} hat Ihre Akte geöffnet.", "{name} opened your record."),
}
"""Kind of receipt -> what is told of it."""

_ANSWERED: Words = ("{name} hat {shown_de} gesehen.", "{name} saw {shown_en}.")
_ANSWERED_IN_PART: Words = (
    "{name} hat {shown_de} gesehen; {hidden} dieser Art blieben verborgen.",
    "{name} saw {shown_en}; {hidden} of this kind stayed hidden.",
)
_OWN_READING: Words = ("Sie haben Ihre Akte gelesen.", "You read your record.")
_OWN: Mapping[str, Words] = {
    "create": ("Sie haben eine Einwilligung unterschrieben.", "You signed a consent."),
    "update": ("Sie haben eine Einwilligung geändert.", "You changed a consent."),
    "delete": ("Sie haben einen Zugriff beendet.", "You ended somebody's access."),
}
"""What the owner did, by interaction."""

_OWN_KINDS = frozenset({"exported", "imported", "shared", "unshared", "written"})
"""What only the owner does."""

_LINK: Mapping[str, Words] = {
    "opened": (
        "Wer sich „{name}“ nennt (nicht geprüft), hat Ihren Link „{link}“ geöffnet.",
        "Somebody who says to be “{name}” (not verified) opened your link “{link}”.",
    ),
    "refused": (
        "Wer sich „{name}“ nennt (nicht geprüft), wollte Ihren Link „{link}“ öffnen und durfte nicht.",
        "Somebody who says to be “{name}” (not verified) wanted to open your link “{link}” and was not allowed to.",
    ),
}
"""What somebody did who has a link, by kind of receipt."""


def told(entry: Mapping[str, Any], hidden: int | None = None) -> Words:
    """One sentence. hidden: how many were not shown, where that is to be told in it."""
    german, english = _words(entry, _ANSWERED if hidden is None else _ANSWERED_IN_PART)
    values = {"name": entry["name"], "hidden": hidden, "link": entry.get("link", "")}
    for member in ("shown", "added", "written"):
        number = entry.get(member)
        values[f"{member}_de"] = _number(number, "Eintrag", "Einträge")
        values[f"{member}_en"] = _number(number, "entry", "entries")
    return german.format(**values), english.format(**values)


def _words(entry: Mapping[str, Any], answered: Words) -> Words:
    kind = entry["kind"]
    if entry["party"] == OWNER and kind not in _OWN_KINDS:
        return _OWN.get(entry.get("interaction", ""), _OWN_READING)
    if "link" in entry and kind not in _OWN_KINDS:
        return _LINK[kind]
    return _BY_KIND.get(kind, answered)


def _number(number: Any, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
