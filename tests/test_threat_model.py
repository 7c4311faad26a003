"""FORMAT.md section 11 says of each sentence which test shows it: here, that this is so."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from tests.test_attacks import attacks

FORMAT = Path(__file__).parents[1] / "aggregator" / "vault" / "FORMAT.md"
ADVERSARIES = (
    "A stolen disk",
    "A stolen database and key service",
    "A hostile administrator",
    "A compromised worker",
    "A compromised API process",
    "A former grantee",
    "A network attacker",
)
_NAMED = re.compile(r"(\d+): ((?:`test_\w+`(?:, )?)+)")


def section() -> dict[str, str]:
    """Title -> text of each adversary's."""
    text = FORMAT.read_text("utf-8").partition("\n## 11. ")[2].partition("\n## ")[0]
    return dict(part.split("\n", 1) for part in text.split("\n### ")[1:])  # type: ignore[misc] - two parts each


def sentences() -> list[str]:
    return [line for text in section().values() for line in text.splitlines() if line.startswith("- ")]


def named() -> set[tuple[int, str]]:
    """(number, test) of every test that the section names."""
    text = "\n".join(section().values())
    return {(int(number), test) for number, tests in _NAMED.findall(text) for test in re.findall(r"\w+", tests)}


def test_there_is_a_part_for_each_adversary() -> None:
    assert [title for title, start in zip(section(), ADVERSARIES, strict=True) if not title.startswith(start)] == []


def test_each_sentence_says_can_or_cannot_and_names_its_test() -> None:
    assert len(sentences()) > 40
    assert [one for one in sentences() if not re.match(r"- (can|cannot) ", one)] == []
    assert [one for one in sentences() if not _NAMED.search(one) and "*no test*" not in one] == []


def test_each_test_that_is_named_is_there_and_carries_the_number() -> None:
    carried = defaultdict(set)
    for one in attacks():
        carried[one.test.partition("::")[2]] |= one.numbers
    assert len(named()) > 50
    assert sorted((number, test) for number, test in named() if number not in carried[test]) == []


def test_no_test_is_named_without_its_number() -> None:
    everywhere = set(re.findall(r"`(test_\w+)`", "\n".join(section().values())))
    assert everywhere == {test for _, test in named()}
