"""The bench does not rot: its pieces run on a tiny record and give figures of the right shape. No time is judged."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from fhir_profiles.codes import LOINC
from fhir_profiles.text import Number, Resource
from tests.bench import __main__ as bench
from tests.bench import bulk_figures, http_figures, many_vaults, vault_figures
from tests.bench.figure import Figure, late, middle
from tests.bench.http_load import WrongAnswer, load
from tests.bench.installation import Installation, of_one_person

NUMBER = 25


def tiny_record() -> list[Resource]:
    """Two Patients and more body heights than a page of the bench's query holds."""
    patients = [{"resourceType": "Patient", "id": name, "birthDate": "1990-01-01"} for name in ("p1", "p2")]
    return [*patients, *(_height(number) for number in range(NUMBER))]


def _height(number: int) -> Resource:
    return {
        "resourceType": "Observation",
        "id": f"height-{number}",
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": "8302-2", "display": "Body height"}]},
        "subject": {"reference": f"Patient/p{number % 2 + 1}"},
        "effectiveDateTime": f"20{number:02d}-03-01",
        "valueQuantity": {"value": Number(f"1{number:02d}.50"), "unit": "cm"},
    }


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Figure, Installation, list[Resource]]]:
    resources = of_one_person(tiny_record(), NUMBER)
    figure, installation = vault_figures.take_in(tmp_path_factory.mktemp("bench"), resources, 1)
    installation.permit()
    list(vault_figures.openings(installation, NUMBER, 2))
    yield figure, installation, resources
    installation.close()


def test_one_person_and_no_other() -> None:
    made = of_one_person(tiny_record(), NUMBER)
    assert [one["resourceType"] for one in made] == ["Patient"] + ["Observation"] * (NUMBER - 1)
    assert {one["subject"]["reference"] for one in made[1:]} == {"Patient/p1"}
    assert made[3]["valueQuantity"]["value"] == Number("102.50")


def test_a_figure_is_one_json_line() -> None:
    figure = Figure(name="cold open", value=1.23456, unit="ms", better="lower", target=5, reference=None)
    expected = {"name": "cold open", "value": 1.235, "unit": "ms", "better": "lower", "target": 5.0, "reference": None}
    assert orjson.loads(figure.line()) == expected
    assert list(orjson.loads(figure.line())) == ["name", "value", "unit", "better", "target", "reference"]


def test_median_and_99th_percentile() -> None:
    times = [float(n) for n in range(1, 201)]
    assert (middle(times), late(times), late([1.0])) == (100.5, 199.0, 1.0)


def test_take_in(taken: tuple[Figure, Installation, list[Resource]]) -> None:
    figure, _, _ = taken
    assert (figure.unit, figure.target) == ("resources/s", 2500)
    assert figure.reference is not None
    assert figure.value > 0


def test_steps_openings_and_sizes(taken: tuple[Figure, Installation, list[Resource]]) -> None:
    _, installation, resources = taken
    figures = [
        *vault_figures.openings(installation, NUMBER, 2),
        *vault_figures.at_rest(installation, resources),
        *vault_figures.memory(installation, NUMBER),
        *vault_figures.steps(installation, resources, 1),
        *vault_figures.receipts(installation, 0.02),
    ]
    assert all(figure.value > 0 for figure in figures if "grown by" not in figure.name)
    assert [figure.unit for figure in figures] == ["ms"] * 7 + ["bytes/byte"] * 7 + ["µs"] * 3 + ["receipts/s"] * 3


def test_syncs_and_many_vaults(tmp_path: Path) -> None:
    resources = of_one_person(tiny_record(), NUMBER)
    figures = [
        *vault_figures.unopened(tmp_path / "unopened", resources, 5, 1),
        *many_vaults.many(tmp_path / "many", resources, (3, 5), 1),
    ]
    assert [figure.unit for figure in figures] == ["ms"] * 3 + ["ms", "ms", "bytes"] * 2
    assert all(figure.value > 0 for figure in figures)


def test_over_http(taken: tuple[Figure, Installation, list[Resource]]) -> None:
    figures = list(http_figures.over_http(taken[1], 0.05, 1))
    assert len(figures) == 4 * 3 * 4
    rates = [figure for figure in figures if figure.unit == "requests/s"]
    shares = [figure.target / figure.reference for figure in rates if figure.target and figure.reference]
    assert shares == pytest.approx([0.7] * 6 + [0.75] * 3 + [0.6] * 3)
    assert len(rates) == 2 * len(shares)  # bare ASGI has no target


def test_bulk_export(taken: tuple[Figure, Installation, list[Resource]]) -> None:
    rate, grown = bulk_figures.exporting(taken[1], NUMBER)
    assert rate.value > 0
    assert grown.reference
    assert grown.reference > 0


def test_a_filtered_view(taken: tuple[Figure, Installation, list[Resource]]) -> None:
    """Behind what the provider asks over HTTP: it is denied something."""
    figures = list(vault_figures.filtered(taken[1], NUMBER, 2))
    assert [figure.unit for figure in figures] == ["ms", "ms", "decisions"]
    assert figures[-1].value == 0


def test_appending(taken: tuple[Figure, Installation, list[Resource]]) -> None:
    """Behind what is measured at rest: it leaves a log."""
    figures = list(vault_figures.appending(taken[1], taken[2], 2))
    assert [figure.target for figure in figures] == [5.0, None]
    assert all(figure.value > 0 for figure in figures)


def test_the_load_generator_refuses_other_answers() -> None:
    gone = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for body in (b"one", b"three"):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await reader.read()
        writer.close()
        gone.set()

    async def loaded() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            try:
                await load(server.sockets[0].getsockname()[1], 1, 5.0, b"GET / HTTP/1.1\r\n\r\n")
            finally:
                await gone.wait()

    with pytest.raises(WrongAnswer, match="of 43 bytes"):
        asyncio.run(loaded())


def test_without_the_outside_data_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AGGREGATOR_TEST_DATA", "/nowhere")
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)
    assert bench.main(["--quick"]) == 1
    assert "AGGREGATOR_TEST_DATA" in capsys.readouterr().err


def test_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--fast"]) == 2
    assert capsys.readouterr().err.startswith("usage:")
