"""The database's tables, revision by revision (https://alembic.sqlalchemy.org). `make migration` writes them.

Until the first release there is one revision, made anew whenever the tables change; its id is a hash of what it makes,
so that a database of another day is told from one of today.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.inspection import inspect

from aggregator.errors import OperatorError

FOLDER = Path(__file__).parent
_FIRST_DAYS = "installation"
"""A table that each store had before there were revisions."""


@cache
def head() -> str:
    """The newest revision: read from its file, because importing Alembic takes longer than a start may."""
    newest = sorted((FOLDER / "versions").glob("[0-9]*.py"))[-1]
    (found,) = re.findall(r'^revision = "(\w+)"$', newest.read_text(encoding="utf-8"), re.MULTILINE)
    return str(found)


def revision(connection: Connection) -> str | None:
    """The revision that the database has; None for one without."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def upgrade(connection: Connection, place: str) -> None:
    """Bring the database to the newest revision, in the caller's transaction, which nobody else may be beside.

    place: names the database to an operator. Raises OperatorError for one that this version cannot bring there.
    """
    found = revision(connection)
    if found == head():
        return
    if found is None:
        _refuse_foreign(connection, place)
    _run(connection, found, place)


def never_released(place: str, form: int) -> OperatorError:
    """For a store of a format that only the first days had."""
    return OperatorError(
        f"store: {place} has format {form}, which was never released and cannot be read any more; start a new store "
        "(another store.path or database, and another keys.folder) and have patients connect their sources again"
    )


def _refuse_foreign(connection: Connection, place: str) -> None:
    tables = inspect(connection).get_table_names()
    if _FIRST_DAYS in tables:
        raise never_released(place, 1)
    if tables:
        raise OperatorError(
            f"store: {place} holds the tables of something else; give the service a database of its own"
        )


def _run(connection: Connection, found: str | None, place: str) -> None:
    from alembic import command  # here: a start that has nothing to do does not pay for it
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {one.revision for one in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise OperatorError(
            f"store: {place} has revision {found}, which this version does not know (its newest is {head()}); "
            "use the version that wrote it, or a newer one"
        )
    command.upgrade(config, "head")
