"""Reading an export's files: every one is what the manifest says, before any is believed (FORMAT-EXPORT.md, 3, 5)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aggregator.errors import CallerError
from aggregator.portability.archive import MANIFEST, Files
from aggregator.portability.export import FORMAT, KIND
from aggregator.vault.encoding import unb64
from fhir_profiles.profiles import SECTIONS
from fhir_profiles.text import MAX_DEPTH, depth, loads

ATTACHMENTS = "attachments/"
_MOST_BYTES = 2**30  # of everything but attachments: it is held in memory
_LONGEST_LINE = 32 * 2**20
_MOST_LINES = 5_000_000
_MOST_POSITION = 2**31 - 2
_VAULT = re.compile(r"[a-z2-7]{26}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

# What a value of the wrong shape raises where it is used.
WRONG = (KeyError, ValueError, TypeError, AttributeError, OverflowError, IndexError)


@dataclass(frozen=True, slots=True)
class Listed:
    """One file as the manifest has it, or as it was found."""

    path: str
    bytes: int
    sha256: str
    lines: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an export says of itself. chain: of the log; grants: the newest grant version."""

    vault: str
    patient: str
    position: int
    chain: bytes
    grants: int
    missing: frozenset[str]
    files: Mapping[str, Listed]


@dataclass(frozen=True, slots=True)
class Export:
    """An export whose files are those of its manifest. texts: all but the attachments, by path."""

    manifest: Manifest
    texts: Mapping[str, bytes]


def refused(what: str) -> CallerError:
    """A sentence without anything of the content."""
    return CallerError(f"this export cannot be imported: {what}")


def read(files: Files) -> Export:
    """Read it once from beginning to end; attachments are hashed and not kept. Raises CallerError, Tampered."""
    texts, found, room = dict[str, bytes](), dict[str, Listed](), _MOST_BYTES
    for file in files():
        if MANIFEST in texts:
            raise refused("a file follows the manifest")
        if not file.path.startswith(ATTACHMENTS):
            room -= file.size
            if room < 0:
                raise refused("it is too large")
            texts[file.path] = b"".join(file.parts)
            found[file.path] = _listed(file.path, [texts[file.path]])
        else:
            found[file.path] = _listed(file.path, file.parts)
    if MANIFEST not in texts:
        raise refused("it has no manifest, so it was interrupted")
    del found[MANIFEST]
    manifest = _parse(texts.pop(MANIFEST))
    _refuse_others(found, manifest.files)
    _refuse_long(texts)
    return Export(manifest, texts)


def _refuse_others(found: Mapping[str, Listed], listed: Mapping[str, Listed]) -> None:
    if found != listed:
        raise refused("its files are not those of its manifest")


def _listed(path: str, parts: Iterable[bytes]) -> Listed:
    size, lines, sha256 = 0, 0, hashlib.sha256()
    for part in parts:
        size, lines = size + len(part), lines + part.count(b"\n")
        sha256.update(part)
    return Listed(path, size, sha256.hexdigest(), lines if path.endswith(".ndjson") else None)


def _parse(text: bytes) -> Manifest:
    try:
        told = parsed(text)
        if (told["kind"], told["format"]) != (KIND, FORMAT):
            raise refused("it is of another kind or format")
        rows = [Listed(one["path"], one["bytes"], one["sha256"], one["lines"]) for one in told["files"]]
        made = Manifest(
            vault=told["vault"],
            patient=told["patient"],
            position=_whole(told["log"]["position"]),
            chain=unb64(told["log"]["chain"]),
            grants=_whole(told["grants"]),
            missing=frozenset(told["missing"]),
            files={row.path: row for row in rows},
        )
        sound = _VAULT.fullmatch(made.vault) and len(made.chain) == 32 and len(rows) == len(made.files)
        sound = sound and all(_SHA256.fullmatch(row.sha256) for row in rows)
    except WRONG:
        sound = None
    if not sound:
        raise refused("its manifest cannot be read")
    return made


def _whole(number: Any) -> int:
    if type(number) is not int or not 0 <= number <= _MOST_POSITION:
        raise ValueError("no number of a vault")
    return number


def parsed(text: bytes) -> Any:
    """JSON that no two readers read differently. Raises ValueError."""
    told = loads(text)
    if depth(told) > MAX_DEPTH:
        raise ValueError("nested too deeply")
    return told


def _refuse_long(texts: Mapping[str, bytes]) -> None:
    left = _MOST_LINES
    for path, text in texts.items():
        if path.endswith(".ndjson"):
            left -= text.count(b"\n")
            if left < 0 or any(len(line) > _LONGEST_LINE for line in text.split(b"\n")):
                raise refused("it has lines that are too long, or too many")


def values(export: Export, path: str) -> list[Any]:
    """Of a file of NDJSON; none where it is not there. Raises ValueError."""
    return [parsed(line) for line in export.texts.get(path, b"").splitlines()]


def require_section(name: Any) -> str:
    """Raises ValueError for what is no section."""
    if name not in SECTIONS:
        raise ValueError("no section")
    return str(name)
