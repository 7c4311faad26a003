"""An erasure's certificate in words, German and English."""

from __future__ import annotations

from typing import Any

_GERMAN = """\
BESCHEINIGUNG ÜBER EINE LÖSCHUNG

Akte:            {vault}
Gelöscht:        {at} (UTC), auf Anordnung {by_german}
Vernichtet:      der Schlüssel, ohne den die Akte nicht zu öffnen ist, und {grant_keys} Schlüssel von Freigaben
Entfernt:        {rows} Datensätze, {attachments} Anhänge
Probiert:        {tried} Wege in die Akte, danach: {opened} davon öffnen sie noch
Sicherungen:     Sicherungen des Schlüsselspeichers von vorher werden {days} Tage aufbewahrt, bis {until}.
                 So lange könnte jemand die Akte öffnen, der eine solche Sicherung, eine der Datenbank und einen Zugang
                 (Passwort, Passkey, Wiederherstellungscode oder eine Freigabe) hat. Danach niemand mehr.
"""
_ENGLISH = """\
CERTIFICATE OF AN ERASURE

Record:          {vault}
Erased:          {at} (UTC), by order of {by_english}
Destroyed:       the key without which the record cannot be opened, and {grant_keys} keys of grants
Removed:         {rows} rows, {attachments} attachments
Tried:           {tried} ways into the record; afterwards {opened} of them open it
Backups:         backups of the key service from before are kept for {days} days, until {until}. Until then somebody
                 could open the record who has such a backup, one of the database and a way in (password, passkey,
                 recovery code or a grant). After that nobody can.
"""
_BY = {
    "owner": ("der Person, deren Akte es ist", "the person whose record it is"),
    "operator": ("des Betreibers", "the operator"),
}


def text(certificate: dict[str, Any]) -> str:
    """Both languages, then what was signed, as one line. certificate: as its `as_json` has it."""
    told = certificate["statement"]
    german, english = _BY[told["ordered_by"]]
    said = {
        "vault": told["vault"],
        "at": told["at"],
        "by_german": german,
        "by_english": english,
        "tried": sum(one["tried"] for one in told["tried"].values()),
        "opened": sum(one["opened_after"] for one in told["tried"].values()),
        "days": told["key_backups"]["retention_days"],
        "until": told["key_backups"]["until"],
        **told["destroyed"],
    }
    signed = f"\nStatement: {certificate['text']}\nSignature: {certificate['signature']}\nKey: {certificate['key']}\n"
    return _GERMAN.format(**said) + "\n" + _ENGLISH.format(**said) + signed
