"""The smallest PDF that shows a few lines of text, for the reports that come with one (ISO 32000-1, section 7.5)."""

from __future__ import annotations

from collections.abc import Iterable

_CATALOG = b"<</Type/Catalog/Pages 2 0 R>>"
_PAGES = b"<</Type/Pages/Kids[3 0 R]/Count 1>>"
_PAGE = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>"
_FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>"


def pdf(lines: Iterable[str]) -> bytes:
    """One A4 page with these lines, PDF 1.4. Raises UnicodeEncodeError beyond the characters of Windows-1252."""
    shown = b"\n".join(b"(%s) Tj T*" % _escaped(line) for line in lines)
    text = b"BT /F1 11 Tf 14 TL 60 770 Td\n" + shown + b"\nET"
    content = b"<</Length %d>>stream\n%s\nendstream" % (len(text), text)
    return _file([_CATALOG, _PAGES, _PAGE, content, _FONT])


def _file(objects: list[bytes]) -> bytes:
    """The numbered objects, and the table that says at which byte each begins."""
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    return out + b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (
        size,
        table,
        size,
        len(out),
    )


def _escaped(line: str) -> bytes:
    return line.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
