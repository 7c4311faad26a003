"""A part's text gives back its versions, and its columns give back any rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.errors import Tampered
from aggregator.vault import part
from aggregator.vault.columns import pack, unpack
from aggregator.vault.envelope import Delete, Put
from aggregator.vault.fold import Left, Version
from aggregator.vault.part import Part, parts
from fhir_profiles.text import dumps

pytestmark = pytest.mark.storeless

UUID = "4b65f614-ea4e-5585-a6e6-39833028bde4"
texts = st.one_of(
    st.text(max_size=30),
    st.sampled_from([UUID, f"Observation/{UUID}", UUID.upper(), "0123456789abcdef" * 2, "0123456789abcde", "\0\1\2"]),
)
values = st.one_of(texts, st.integers(-(2**53), 2**53), st.lists(texts, max_size=2))
rows = st.dictionaries(
    st.text("abcdef", min_size=1), values | st.dictionaries(st.text(max_size=5), texts, min_size=1, max_size=3)
)


@given(st.lists(rows, max_size=6))
def test_columns_give_back_their_rows(given_rows: list[dict[str, object]]) -> None:
    assert unpack(pack(given_rows)) == given_rows


def test_what_is_random_takes_the_bytes_it_is_made_of() -> None:
    packed = pack([{"hash": "sha-256-64;0123456789abcdef", "origin": {"id": f"Observation/{UUID}"}}])
    text = b'{"hash":["sha-256-64;\x01"],"origin.id":["Observation/\x00"]}'
    pool = bytes.fromhex("0123456789abcdef" + UUID.replace("-", ""))
    assert packed == (1).to_bytes(4, "big") + len(text).to_bytes(4, "big") + text + pool


def version(position: int, body: dict[str, object] | None, name: str = "a") -> Version:
    local, at = name * 25 + "a", "2026-11-21T20:30:00.000Z"
    if body is None:
        return Version(position, "owner", Delete(local=local, resource_type="Basic", version=position, updated=at))
    made = Put(local=local, resource_type="Basic", version=position, updated=at, resource=dumps(body))
    return Version(position, "owner", made)


NAMED = {"resourceType": "Basic", "id": f"{'v' * 26}.{'a' * 26}"}
BODIES = [
    NAMED,
    NAMED | {"meta": {"tag": [{"display": ',"resource":'}]}},
    {"id": NAMED["id"], "resourceType": "Basic"},
    {"resourceType": "Basic", "id": f"{'v' * 26}.{'b' * 26}"},
]


@given(st.lists(st.sampled_from([None, *BODIES]), min_size=1, max_size=8))
def test_a_text_gives_back_its_versions(bodies: list[dict[str, object] | None]) -> None:
    """Wherever in a body its id stands, and whatever it says."""
    versions = [version(position, body) for position, body in enumerate(bodies, 1)]
    (made,) = parts([versions])
    text = made.text()
    assert [one for one, _ in part.read(text)] == versions
    newest = [one.operation for one in versions if isinstance(one.operation, Put)][-1:]
    for put in newest:
        start = made.starts[put.local]
        assert text[start : start + len(put.resource) + 1] == put.resource + b"\n"


def test_a_version_that_left_its_section_is_read_as_such_and_is_no_newest_body() -> None:
    here, before = version(3, NAMED), replace(version(1, NAMED), left=Left("mental-health", 2))
    (made,) = parts([[here], [before]])
    assert [one for one, _ in part.read(made.text())] == [here, before]
    assert made.starts == {here.operation.local: 0}


def test_a_part_closes_behind_the_resource_that_fills_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part, "_FULL", 100)
    given_versions = {name: [version(1, NAMED, name), version(2, NAMED, name)] for name in "abc"}
    assert [len(one.beside) for one in parts(given_versions.values())] == [2, 2, 2]


BROKEN = {
    "nothing": b"",
    "a length beyond the text": b"\xff" * 8,
    "no columns": bytes([0, 0, 0, 0]),
    "a put without its body": Part(beside=[{"op": "put", "position": 1, "writer": "owner", "version": 1}] * 2).text(),
}


@pytest.mark.parametrize("case", BROKEN)
def test_another_text_is_refused(case: str) -> None:
    with pytest.raises(Tampered, match="not of the format"):
        list(part.read(BROKEN[case]))
