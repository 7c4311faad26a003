"""No nonce, data key or encapsulation twice, across forks: 20,480 boxes here, by the same draw as a million."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

FORKS, EACH = 4, 640


@pytest.mark.attack(34)
def test_nothing_random_is_drawn_twice(tmp_path: Path) -> None:
    """All draw from where one process stood: what kept its state in memory would repeat itself."""
    out = tmp_path / "drawn"
    command = [sys.executable, "-m", "tests.vault.forked_seals", str(FORKS), str(EACH)]
    with out.open("ab") as file:  # appending: what two processes write at once is not mixed
        subprocess.run(command, cwd=Path(__file__).parents[2], stdout=file, check=True)
    drawn = Counter(chain.from_iterable(line.split() for line in out.read_text().splitlines()))
    boxes = 2**FORKS * EACH * 2
    assert sum(drawn.values()) >= boxes * 2
    assert [value for value, times in drawn.items() if times > 1] == []
