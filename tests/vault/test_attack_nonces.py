"""No nonce and no data key twice, across forks (attack 34): of a million boxes, and of some thousand through HPKE.

What is sealed and what is wrapped draws its nonce in one place, `seal.lock`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.weaken import weakens

pytestmark = pytest.mark.storeless

FORKS = 4
WEAKENED: list[str] = []  # what the weakened build's process is told


def drawn(tmp_path: Path, each: int, *options: str) -> tuple[list[bytes], list[bytes]]:
    """Nonces and data keys, those of the call before too. All draw from where one process stood: state in memory would
    repeat itself."""
    out = tmp_path / "drawn"
    command = [sys.executable, "-m", "tests.vault.forked_seals", str(FORKS), str(each), *options, *WEAKENED]
    with out.open("ab") as file:  # appending: what two processes write at once is not mixed
        subprocess.run(command, cwd=Path(__file__).parents[2], stdout=file, check=True)
    data = out.read_bytes()
    assert len(data) % 44 == 0
    starts = range(0, len(data), 44)
    return [data[at : at + 12] for at in starts], [data[at + 12 : at + 44] for at in starts]


@pytest.mark.attack(34)
@weakens(__name__, "WEAKENED", ["--one-state"])
def test_of_a_million_boxes_no_two_share_a_nonce_or_a_data_key(tmp_path: Path) -> None:
    for each in (100, 62_500):  # what repeats itself does so in the first few
        values = drawn(tmp_path, each)
        assert [len(set(one)) for one in values] == [len(one) for one in values]
    assert all(len(one) > 1_000_000 for one in values)


@pytest.mark.attack(34)
@weakens(__name__, "WEAKENED", ["--one-state"])
def test_a_data_key_is_drawn_anew_as_its_recipient_opens_it(tmp_path: Path) -> None:
    for values in drawn(tmp_path, 320, "--whole"):
        assert len(values) > 5_000
        assert len(set(values)) == len(values)
