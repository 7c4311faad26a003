"""Passwords and recovery codes for commands: typed without being shown, or from a file; never on the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from aggregator.api.service import Service
from aggregator.errors import CallerError
from aggregator.identity.accounts import Owner

_LONGEST = 8192  # bytes of a file that holds a password

PasswordFile = Annotated[
    Path | None, typer.Option("--password-file", help="The owner's password, in a file that others cannot read.")
]
RecoveryFile = Annotated[
    Path | None, typer.Option("--recovery-file", help="The owner's recovery code instead, in such a file.")
]


def typed(question: str, file: Path | None, *, twice: bool = False) -> str:
    """A secret: from the file, where one is named, else typed. Raises CallerError."""
    if file is None:
        return str(typer.prompt(question, hide_input=True, confirmation_prompt=twice, err=True))
    try:
        descriptor = os.open(file, os.O_RDONLY)
        with os.fdopen(descriptor, "rb") as opened:
            if os.fstat(opened.fileno()).st_mode & 0o077:
                raise CallerError(f"{file} can be read by others; run: chmod 600 {file}")
            text = opened.read(_LONGEST).decode().strip("\r\n")
    except (OSError, UnicodeDecodeError):
        raise CallerError(f"{file} cannot be read as a file that holds a password") from None
    if not text:
        raise CallerError(f"{file} is empty")
    return text


def signed_in(service: Service, login: str, password: Path | None, recovery: Path | None, device: str) -> Owner:
    """The owner, by password or recovery code. The session is the caller's to end. Raises CallerError."""
    if recovery is not None:
        return service.accounts.sign_in_by_code(login, typed("Recovery code", recovery), device)
    return service.accounts.sign_in(login, typed("Password", password), device)
