"""The conformance suite catches what it is there to catch: one connector keeps every rule, others break one each."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ConfigDict, SecretStr

from connectors import conformance
from connectors.contract import (
    Batch,
    Clock,
    ConnectorSpec,
    Cursor,
    Deleted,
    Found,
    Item,
    Kind,
    NeedsOperator,
    Origin,
    Reason,
    Settings,
    Skipped,
)
from connectors.recorded_http import Exchange, replay


class Sample(Settings):
    folder: Path
    account: str = "erika-4711"
    password: SecretStr = SecretStr("kanarie")


Pull = Callable[[Sample, Cursor | None, Clock], AsyncIterator[Batch]]


@dataclass(frozen=True)
class Connector:
    """Pulls the way it is told to."""

    settings: Sample
    how: Pull
    clock: Clock

    async def check(self) -> None:
        if not self.settings.folder.is_dir():
            raise NeedsOperator("The folder is missing: the operator must create it.")

    def pull(self, cursor: Cursor | None) -> AsyncIterator[Batch]:
        return self.how(self.settings, cursor, self.clock)


def _origin(clock: Clock, **changed: Any) -> Origin:
    given = {"locator": "notes.txt:1", "source_id": "Basic/n1", "fetched_at": clock()}
    return replace(Origin.of(b"n1", **given), **changed)


RESOURCE = {"resourceType": "Basic", "id": "n1", "code": {"text": "Notiz"}}


async def _good(_: Sample, cursor: Cursor | None, clock: Clock) -> AsyncIterator[Batch]:
    items = (Found(RESOURCE, _origin(clock)),) if cursor is None else ()
    yield Batch(items, cursor=Cursor("1"))


def _giving(make: Callable[[Clock], Item]) -> Pull:
    async def pull(_: Sample, __: Cursor | None, clock: Clock) -> AsyncIterator[Batch]:
        yield Batch((make(clock),), cursor=Cursor("1"))

    return pull


def _spec(how: Pull, **changed: Any) -> ConnectorSpec[Sample]:
    spec = ConnectorSpec(
        name="notes",
        version="1",
        title="Notes",
        config=Sample,
        connect=lambda settings, _, clock: Connector(settings, how, clock),
        kind=Kind.ACCOUNT,
        resource_types=("Basic",),
        incremental=True,
        reports_deletions=False,
        min_interval=timedelta(hours=1),
        account=frozenset({"account", "password"}),
        account_id="account",
    )
    return replace(spec, **changed)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    case = tmp_path / "recorded" / "one"
    case.mkdir(parents=True)
    (case / "case.json").write_text('{"settings": {"folder": "{case}"}}', "utf-8")
    return tmp_path


def _failures(spec: ConnectorSpec[Any], home: Path) -> set[str]:
    """The suite's tests that fail for this connector."""
    suite = conformance.suite(spec, home)()
    case = conformance.Case.read(home / "recorded" / "one")
    if not case.expected.exists():
        case.expected.parent.mkdir()
        case.expected.write_text(conformance.render(conformance.pull(spec, case, None), case), "utf-8")
    failed = set()
    for name in (name for name in dir(suite) if name.startswith("test_")):
        test = getattr(suite, name)
        try:
            test(case) if "case" in test.__annotations__ else test()
        except AssertionError:
            failed.add(name)
    return failed


def test_a_connector_that_keeps_every_rule_passes(home: Path) -> None:
    assert _failures(_spec(_good), home) == set()


def test_the_expected_file_is_readable_and_holds_the_whole_outcome(home: Path) -> None:
    _failures(_spec(_good), home)
    assert json.loads((home / "expected" / "one.json").read_text("utf-8")) == {
        "batches": [
            {
                "items": [
                    {
                        "found": {
                            "resource": RESOURCE,
                            "origin": {
                                "locator": "notes.txt:1",
                                "source_id": "Basic/n1",
                                "fetched_at": "2026-03-14T09:26:53+05:45",
                                "sha256": "676b8bb84ce7267dd520deca4811c8f10a53e636352f06987f42fe425acedd80",
                            },
                        }
                    }
                ],
                "cursor": "1",
            }
        ]
    }


ITEMS = "test_every_item_keeps_the_contract"
VALID = "test_every_resource_is_valid_unless_the_case_says_otherwise"
SECRETS = "test_secrets_stay_out_of_messages_cursors_and_locators"


@pytest.mark.parametrize(
    ("item", "caught_by"),
    [
        (lambda clock: Found(RESOURCE, _origin(clock, source_id="Basic/other")), ITEMS),
        (lambda clock: Found(RESOURCE, _origin(clock, sha256="n1")), ITEMS),
        (lambda clock: Found(RESOURCE, _origin(clock, locator="")), ITEMS),
        (lambda clock: Found(RESOURCE, _origin(clock, fetched_at=datetime(2026, 3, 14))), ITEMS),  # noqa: DTZ001 meant
        (lambda clock: Found(RESOURCE, _origin(clock, fetched_at=datetime(2026, 3, 14, tzinfo=UTC))), ITEMS),
        (lambda clock: Found(RESOURCE | {"resourceType": "Flag"}, _origin(clock, source_id="Flag/n1")), ITEMS),
        (lambda clock: Deleted("Flag", _origin(clock)), ITEMS),
        (lambda clock: Skipped(Reason.OTHER_PERSON, _origin(clock), b"secret"), ITEMS),
        (lambda clock: Found(RESOURCE | {"code": "Notiz"}, _origin(clock)), VALID),
        (lambda clock: Found(RESOURCE, _origin(clock, locator="notes?password=kanarie")), SECRETS),
    ],
)
def test_an_item_that_breaks_a_rule_is_caught(home: Path, item: Callable[[Clock], Item], caught_by: str) -> None:
    assert caught_by in _failures(_spec(_giving(item)), home)


class _Open(Settings):
    model_config = ConfigDict(extra="allow")
    account: str = "a"


class _Shown(Settings):
    account: str = "a"
    api_token: str = "t"


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "Notes!"},
        {"version": ""},
        {"contract_version": 99},
        {"config": _Open, "account": frozenset({"account"})},
        {"config": _Shown, "account": frozenset({"account"})},
        {"account": frozenset({"absent"}), "account_id": "absent"},
        {"account_id": None},
        {"kind": Kind.FEED},
        {"resource_types": ()},
        {"resource_types": ("Basic", "Basic")},
        {"min_interval": timedelta(0)},
    ],
)
def test_a_spec_that_breaks_a_rule_is_caught(home: Path, changed: dict[str, Any]) -> None:
    suite = conformance.suite(_spec(_good, **changed), home)()
    with pytest.raises(AssertionError):
        suite.test_the_spec_is_well_formed()


def test_a_source_that_is_never_the_same_is_caught(home: Path) -> None:
    count = iter(range(99))
    moving = _giving(lambda clock: Found(RESOURCE, _origin(clock, locator=f"notes.txt:{next(count)}")))
    assert "test_a_second_pull_from_the_same_place_gives_the_same" in _failures(_spec(moving), home)


def test_a_cursor_that_brings_something_new_is_caught(home: Path) -> None:
    async def skipping(_: Sample, cursor: Cursor | None, clock: Clock) -> AsyncIterator[Batch]:
        yield Batch((Found(RESOURCE, _origin(clock, sha256=("0" if cursor else "1") * 64)),), cursor=Cursor("1"))

    assert _failures(_spec(skipping), home) == {"test_the_last_cursor_brings_nothing_new"}


def _failing(message: str) -> Pull:
    async def pull(_: Sample, __: Cursor | None, ___: Clock) -> AsyncIterator[Batch]:
        yield Batch(())
        raise NeedsOperator(message)

    return pull


@pytest.mark.parametrize(
    ("message", "caught_by"),
    [("kanarie is no password", SECRETS), ("erika-4711 is gone", "test_errors_do_not_name_the_account")],
)
def test_a_message_that_tells_too_much_is_caught(home: Path, message: str, caught_by: str) -> None:
    case = home / "recorded" / "one" / "case.json"
    case.write_text('{"settings": {"folder": "{case}", "account": "erika-4711"}}', "utf-8")
    assert _failures(_spec(_failing(message)), home) == {caught_by}


def test_an_error_of_another_kind_is_no_outcome(home: Path) -> None:
    async def broken(_: Sample, __: Cursor | None, ___: Clock) -> AsyncIterator[Batch]:
        yield Batch(())
        raise KeyError("value")

    case = conformance.Case.read(home / "recorded" / "one")
    with pytest.raises(KeyError):
        conformance.pull(_spec(broken), case, None)


def test_a_difference_is_shown_line_by_line(home: Path) -> None:
    _failures(_spec(_good), home)
    expected = home / "expected" / "one.json"
    expected.write_text(expected.read_text("utf-8").replace("Notiz", "Brief"), "utf-8")
    suite = conformance.suite(_spec(_good), home)()
    with pytest.raises(AssertionError, match=r'(?s)-.*"text": "Brief".*\+.*"text": "Notiz"'):
        suite.test_the_whole_outcome_is_the_expected_one(conformance.Case.read(home / "recorded" / "one"))


def test_expected_files_are_written_when_asked_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORMANCE_WRITE", "1")
    case = conformance.Case.read(home / "recorded" / "one")
    conformance.suite(_spec(_good), home)().test_the_whole_outcome_is_the_expected_one(case)
    assert json.loads(case.expected.read_text("utf-8"))["batches"][0]["cursor"] == "1"


def test_an_expected_file_without_a_case_is_caught(home: Path) -> None:
    _failures(_spec(_good), home)
    (home / "expected" / "two.json").write_text("{}", "utf-8")
    assert "test_there_are_recorded_cases_and_each_expected_file_has_one" in _failures(_spec(_good), home)


def _ask(folder: Path, *urls: str) -> list[tuple[int, str]]:
    with httpx.Client(transport=replay(folder)) as client:
        return [(answer.status_code, answer.text) for answer in (client.get(url) for url in urls)]


def test_recorded_exchanges_answer_in_the_order_of_their_names(tmp_path: Path) -> None:
    for number, status in ((1, 503), (2, 200)):
        text = f"GET https://a.example/x?q=ge1&r=a,b\n\nHTTP/1.1 {status}\nContent-Type: text/plain\n\nbody {number}\n"
        (tmp_path / f"{number}.http").write_text(text, "utf-8")
    url = "https://a.example/x?q=ge1&r=a%2Cb"
    assert _ask(tmp_path, url, url, url) == [(503, "body 1\n"), (200, "body 2\n"), (200, "body 2\n")]


def test_what_was_not_recorded_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="nothing is recorded"):
        _ask(tmp_path, "https://a.example/x")


def test_a_recorded_exchange_has_three_parts() -> None:
    exchange = Exchange.parse(b"GET https://a.example/x\r\n\r\nHTTP/1.1 200 OK\r\nA: b: c\r\n\r\nline\r\n\r\nline")
    assert (exchange.status, exchange.headers, exchange.body) == (200, (("A", "b: c"),), b"line\n\nline")
    with pytest.raises(ValueError, match="not enough values"):
        Exchange.parse(b"GET https://a.example/x")
