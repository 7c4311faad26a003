"""Files in a tar stream or a folder: what was written is read, and nothing else gets in."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from aggregator.errors import CallerError
from aggregator.portability import archive
from aggregator.portability.archive import File
from tests.portability.rich import contents
from tests.weaken import weakens

FILES = {"fhir/Patient.ndjson": b'{"a":1}\n', "README.txt": b"", "attachments/a-1.pdf": bytes(70_000)}


def files(made: dict[str, bytes]) -> list[File]:
    return [archive.of(path, content) for path, content in made.items()]


def tarred(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    """As somebody else's program makes one."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as made:
        for member, content in members:
            member.size = len(content) if member.isreg() else 0
            made.addfile(member, io.BytesIO(content))
    return out.getvalue()


def named(path: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(path)
    made.type, made.linkname = kind, link
    return made


def read(text: bytes) -> dict[str, bytes]:
    return contents(archive.in_tar(io.BytesIO(text)))


def test_what_was_written_is_read() -> None:
    text = b"".join(archive.tar(files(FILES)))
    assert read(text) == FILES
    with tarfile.open(fileobj=io.BytesIO(text)) as made:
        assert {one.name: made.extractfile(one).read() for one in made} == FILES  # type: ignore[union-attr]


def test_what_nobody_reads_is_passed_over() -> None:
    text = b"".join(archive.tar(files(FILES)))
    assert [file.path for file in archive.in_tar(io.BytesIO(text))] == list(FILES)


HOSTILE = ["../up", "/etc/passwd", "fhir/../../up", "a/b/c", "./a", ".hidden", "fhir/.hidden", "a\\b", "", "a\nb"]
HOSTILE += ["C:x", "a//b", "-rf"]


@pytest.mark.attack(46)
@pytest.mark.parametrize("path", HOSTILE)
@weakens("aggregator.portability.archive", "_sound", lambda path: path)
def test_a_path_that_leaves_the_export_is_refused(path: str) -> None:
    text = named(path).tobuf(tarfile.GNU_FORMAT, "utf-8") + bytes(1024)
    with pytest.raises(CallerError) as told:
        read(text)
    assert not path or path not in str(told.value)


@pytest.mark.attack(46)
@pytest.mark.parametrize("path", ["ä", "a" * 101, "a/"])
def test_a_name_that_no_export_has_is_refused(path: str) -> None:
    with pytest.raises(CallerError):
        read(named(path).tobuf(tarfile.GNU_FORMAT, "utf-8") + bytes(1024))


@pytest.mark.attack(46)
@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE],
)
@weakens("aggregator.portability.archive", "_is_plain", lambda _: True)
def test_a_link_a_device_and_a_folder_are_refused(kind: bytes) -> None:
    with pytest.raises(CallerError):
        read(tarred((named("fhir", kind, "/etc/passwd"), b"")))


@pytest.mark.attack(46)
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_header_about_headers_is_refused(form: int) -> None:
    with pytest.raises(CallerError):
        read(tarred((named("a" * 150), b"text"), form=form))


@pytest.mark.attack(46)
@weakens("aggregator.portability.archive", "_refuse_twice", lambda _path, _known: None)
def test_a_file_that_comes_twice_is_refused() -> None:
    with pytest.raises(CallerError, match="twice"):
        read(b"".join(archive.tar([*files(FILES), archive.of("README.txt", b"another")])))


@pytest.mark.attack(46)
@pytest.mark.parametrize("end", [-1025, 2100, 700, 100, 0])
def test_what_is_cut_off_is_refused(end: int) -> None:
    with pytest.raises(CallerError):
        read(b"".join(archive.tar(files({"a": bytes(2000)})))[: end or 0])


def test_nothing_follows_the_end() -> None:
    with pytest.raises(CallerError, match="follows"):
        read(b"".join(archive.tar(files(FILES))) + b"x")


@pytest.mark.attack(46)
def test_in_a_folder_no_link_is_followed(tmp_path: Path) -> None:
    folder, secret = tmp_path / "taken", tmp_path / "secret"
    archive.write_folder(folder, files(FILES))
    secret.write_text("not for the record")
    for at, make in (
        ("fhir/Link.ndjson", lambda path: path.symlink_to(secret)),
        ("link", lambda path: path.symlink_to(tmp_path)),
        ("pipe", os.mkfifo),
        ("fhir/inner", Path.mkdir),
        (".hidden", Path.touch),
    ):
        make(folder / at)
        with pytest.raises(CallerError):
            contents(archive.in_folder(folder))
        (folder / at).rmdir() if (folder / at).is_dir() and not (folder / at).is_symlink() else (folder / at).unlink()
    assert contents(archive.in_folder(folder)) == FILES


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="cannot be read as a folder"):
        contents(archive.in_folder(tmp_path / "nowhere"))
    with pytest.raises(CallerError, match="cannot be made"):
        archive.write_folder(tmp_path / "a" / "b", files(FILES))
