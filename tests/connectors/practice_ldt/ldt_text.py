"""Writes LDT files for tests: from lines "field content" to bytes with their lengths and the checksum.

The recorded files were made with it (`python -m tests.connectors.practice_ldt.ldt_text < text > file.ldt`).
"""

from __future__ import annotations

import hashlib
import sys

HEADER = """
8000 8220
8132 Kopfdaten
8002 Obj_0032
0001 LDT3.2.20
8136 Laborkennung
8002 Obj_0036
8119 Betriebsstaette
8002 Obj_0019
0203 Labor am Käthe-Kollwitz-Platz
0201 721111100
8003 Obj_0019
8003 Obj_0036
8003 Obj_0032
8001 8220
"""


def line(field: str, content: str) -> bytes:
    """One line with its right length."""
    raw = content.encode("iso-8859-15")
    return f"{len(raw) + 9:03}{field}".encode() + raw + b"\r\n"


def lines(text: str) -> bytes:
    """Lines "field content" as LDT."""
    return b"".join(line(*told.split(" ", 1)) for told in text.strip().splitlines())


def ldt(records: str, header: str = HEADER) -> bytes:
    """A whole file: header, these records, trailer with the right checksum."""
    before = lines(header) + lines(records) + line("8000", "8221")
    return before + line("9300", hashlib.sha1(before).hexdigest()) + line("8001", "8221")


if __name__ == "__main__":
    sys.stdout.buffer.write(ldt(sys.stdin.read()))
