"""Every page says everything in both languages, and nothing is kept that no page says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from aggregator.portal import words
from aggregator.portal.words import LANGUAGES, Words, chosen

PORTAL = Path(words.__file__).parent
TABLES = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in PORTAL.glob("words/*.toml")}
TEMPLATES = {path.stem: path.read_text(encoding="utf-8") for path in PORTAL.glob("templates/[!_]*.html")}
_SAID = re.compile(r'say\("([\w*-]+)"[,)]')
_HOLE = re.compile(r"{(\w+)")


@pytest.mark.parametrize("name", TABLES)
def test_both_languages_are_there_and_speak_of_the_same(name: str) -> None:
    for key, said in TABLES[name].items():
        assert set(said) == set(LANGUAGES), key
        assert all(text.strip() for text in said.values()), key
        assert len({frozenset(_HOLE.findall(text)) for text in said.values()}) == 1, key


def test_each_page_has_its_table() -> None:
    assert set(TEMPLATES) | {"frame"} == set(TABLES)


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_a_page_says_has_words(name: str) -> None:
    assert set(_SAID.findall(TEMPLATES[name])) | {"title"} <= TABLES[name].keys() | TABLES["frame"].keys()


def test_words_that_are_not_there_are_an_error() -> None:
    with pytest.raises(KeyError):
        Words().of("welcome", "de")("nothing")


@pytest.mark.parametrize(
    ("setting", "accepted", "language"),
    [
        ("", "", "de"),
        ("", "en-GB,en;q=0.9", "en"),
        ("", "fr, en;q=0.5, de;q=0.8", "de"),
        ("", "de;q=0, en;q=0.1", "en"),
        ("", "en;q=x", "de"),
        ("de", "en", "de"),
        ("xx", "en", "en"),
    ],
)
def test_the_language(setting: str, accepted: str, language: str) -> None:
    assert chosen(setting, accepted) == language
