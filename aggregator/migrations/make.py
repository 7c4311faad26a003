"""`python -m aggregator.migrations.make`: the one revision, from the tables as the code has them.

Until the first release; from then on a change is a further revision. Needs ruff, which formats the file.
"""

from __future__ import annotations

import hashlib
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, create_engine
from sqlmodel import SQLModel
from sqlmodel.sql.sqltypes import AutoString

from aggregator.migrations import FOLDER

FILE = FOLDER / "versions" / "0001_first.py"
_PACKAGE = FOLDER.parent
_TEXT = '''"""The tables of the first release. Made by `make migration`: change the models, never this file."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
{code}
'''


def metadata() -> MetaData:
    """All tables of the service: the modules whose name ends with `tables` make them."""
    for file in sorted(_PACKAGE.rglob("*tables.py")):
        importlib.import_module(".".join((_PACKAGE.name, *file.relative_to(_PACKAGE).with_suffix("").parts)))
    return SQLModel.metadata


def text() -> str:
    """The revision's file, not formatted yet."""
    with create_engine("sqlite://").connect() as nothing:
        context = MigrationContext.configure(nothing, opts={"render_item": _plain})
        operations = produce_migrations(context, metadata()).upgrade_ops
    assert operations is not None  # noqa: S101 - one metadata, one set of operations
    code = render_python_code(operations, render_item=_plain)
    code = "\n".join(line for line in code.splitlines() if not line.strip().startswith("#"))
    return _TEXT.format(revision=f"0001_{hashlib.sha256(code.encode()).hexdigest()[:12]}", code=code)


def _plain(kind: str, item: Any, _: Any) -> str | Literal[False]:
    """SQLModel's own string type is a string."""
    return "sa.String()" if kind == "type" and isinstance(item, AutoString) else False


def write(file: Path = FILE) -> None:
    file.write_text(text(), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", str(file)], check=True)  # noqa: S603


if __name__ == "__main__":
    write()
