"""`aggregator export`: the whole record, for its owner to take along."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from aggregator.api.export_routes import place
from aggregator.commands.common import AsJson, opened, print_json, progress, say
from aggregator.commands.secrets import PasswordFile, RecoveryFile, signed_in, typed
from aggregator.errors import CallerError
from aggregator.identity.unlockers import DerivedKey, derive
from aggregator.portability import archive, sealed_file
from aggregator.portability.archive import File
from aggregator.portability.export import export as exported

_WARNING = (
    "An open folder is not sealed: whoever can read it reads the whole record, also from a backup or a lost disk. "
    "Use --sealed FILE to have one file under a password instead. Write the open folder?"
)


def export(
    context: typer.Context,
    login: Annotated[str, typer.Argument(help="The login of the record's owner, whose password is asked.")],
    to: Annotated[Path | None, typer.Option("--to", help="A new folder: open, readable by whoever has it.")] = None,
    sealed: Annotated[
        Path | None, typer.Option("--sealed", help="A new file, sealed by a password of its own.")
    ] = None,
    password_file: PasswordFile = None,
    recovery_file: RecoveryFile = None,
    seal_file: Annotated[
        Path | None, typer.Option("--seal-password-file", help="The new file's password, in such a file.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing before an open folder is written.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a person's whole record: resources, history, attachments, consents, receipts, originals.

    It takes the owner's password or recovery code: whoever runs the service cannot export alone. The owner finds a
    receipt of it. `aggregator import` brings it into another installation; a folder is readable without any program.

    Example: aggregator export erika.muster --sealed erika.export
    """
    if (to is None) == (sealed is None):
        raise typer.BadParameter("name one of --to FOLDER and --sealed FILE")
    if to is not None and not yes:
        typer.confirm(_WARNING, abort=True, err=True)
    with opened(context) as service, progress() as bars:
        bars.stop()  # nothing moves while a password is typed
        owner = signed_in(service, login, password_file, recovery_file, "aggregator export")
        try:
            derived = derive(typed("New password for the file", seal_file, twice=True)) if sealed else None
            bars.start()
            written = _Counting(bars)
            _write(written.over(exported(place(service), owner)), to or sealed or Path(), derived)
        finally:
            service.accounts.sign_out(owner.token)
    told = {"vault": owner.vault, "path": str(to or sealed), "files": written.files, "bytes": written.bytes}
    if as_json:
        print_json(told)
        return
    say(f"{written.files} files, {written.bytes} bytes: {to or sealed}")


def _write(files: Iterable[File], target: Path, derived: DerivedKey | None) -> None:
    """A file under construction has another name: what is there under its own is whole."""
    if derived is None:
        archive.write_folder(target, files)
        return
    if target.exists():
        raise CallerError(f"{target} is there already; name a new file")
    unfinished = target.with_name(f"{target.name}.unfinished")
    with archive.new_file(unfinished) as out:
        try:
            for piece in sealed_file.seal(derived, archive.tar(files)):
                out.write(piece)
        except BaseException:
            unfinished.unlink()
            raise
    unfinished.rename(target)


class _Counting:
    """Files and bytes as they pass, shown on a terminal."""

    def __init__(self, bars: Progress) -> None:
        self.files = self.bytes = 0
        self._bars, self._task = bars, bars.add_task("export", total=None)

    def over(self, files: Iterable[File]) -> Iterator[File]:
        for file in files:
            yield replace(file, parts=self._counted(file))
            self.files += 1
            self._bars.update(self._task, completed=self.files)

    def _counted(self, file: File) -> Iterator[bytes]:
        for part in file.parts:
            self.bytes += len(part)
            yield part
