"""A file of the operator's that says what local codes mean: TOML, one array of tables.

Code lists that may not be shipped, or that every laboratory has its own of, come into the service this way.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from connectors.contract import NeedsOperator

RowT = TypeVar("RowT", bound=BaseModel)


def rows(setting: str, path: Path | None, table: str, row: type[RowT]) -> list[RowT]:
    """The [[table]]s of the file; none where the setting names no file. Raises NeedsOperator, naming the setting."""
    if path is None:
        return []
    try:
        found = tomllib.loads(path.read_text("utf-8"))
        if found.keys() == {table} and isinstance(found[table], list):
            return [row.model_validate(one) for one in found[table]]
    except OSError:
        raise NeedsOperator(f"The file of the setting {setting} cannot be read.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError):
        pass  # said below, without the content that the error would show
    members = ", ".join(name for name, field in row.model_fields.items() if field.is_required())
    raise NeedsOperator(f"The file of the setting {setting} is wrong: it needs [[{table}]] tables with {members}.")
