"""Bulk exports that are under way. No health data lies here, and nothing that could open any."""

from __future__ import annotations

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel


class BulkExport(SQLModel, table=True):
    """What a caller asked for. id: the hash of what its URLs say. reader: handle of who alone may ask for it.

    box: what was asked, locked. expires: Unix seconds.
    """

    __tablename__ = "bulk_export"
    id: bytes = Field(primary_key=True)
    reader: bytes = Field(index=True)
    expires: int = Field(sa_type=BigInteger, index=True)
    box: bytes


class BulkExportRecord(SQLModel, table=True):
    """A record that is part of it. box: how many lines of each type it has, locked; empty until it was looked at."""

    __tablename__ = "bulk_export_record"
    export: bytes = Field(primary_key=True)
    vault: str = Field(primary_key=True, index=True)
    box: bytes = b""
