"""The tests that every connector must pass, ours or a third party's. A connector's whole test is one line:

    TestInsurerFhir = conformance.suite(SPEC, Path(__file__).parent / "insurer_fhir")

The folder holds what the source said and what must become of it, both in readable files:

    recorded/<case>/case.json    {"settings": {...}, "cursor": "where the pull starts", "invalid": ["Type/id", ...]};
                                 "{case}" in a setting is the case's folder; cursor and invalid may be left out;
                                 invalid are the resources that the connector passes on though they fail the check
    recorded/<case>/*.http       one exchange each, for sources that speak HTTP (see connectors/recorded_http.py)
    recorded/<case>/...          whatever else the settings point to
    expected/<case>.json         the whole outcome: batches, and the error that ended the pull, if one did

`CONFORMANCE_WRITE=1 pytest ...` writes the expected files anew; read the difference before you commit it. A pull may
begin where `cursor` says, so an incremental run is one more case.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import difflib
import os
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import httpx
import orjson
from pydantic import BaseModel, SecretStr

from connectors.contract import (
    CONTRACT_VERSION,
    Batch,
    Connector,
    ConnectorError,
    ConnectorSpec,
    Cursor,
    Deleted,
    Found,
    Item,
    Kind,
    Reason,
    Settings,
    Skipped,
)
from connectors.recorded_http import replay
from fhir_profiles import check, text

# Not UTC, and not a whole number of hours from it: code that forgets the zone shows.
FROZEN = datetime(2026, 3, 14, 9, 26, 53, tzinfo=timezone(timedelta(hours=5, minutes=45)))

_WRITE = "CONFORMANCE_WRITE"
_SECRET_NAME = re.compile(r"(token|secret|password|pin|key)$")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_Told = TypeVar("_Told")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One recorded case: where it lies, and what case.json says."""

    folder: Path
    settings: dict[str, Any]
    cursor: Cursor | None
    invalid: frozenset[str]

    @classmethod
    def read(cls, folder: Path) -> Case:
        """Read recorded/<case>/case.json, with "{case}" replaced by the folder."""
        here = orjson.dumps(str(folder.resolve())).decode()[1:-1]
        told = orjson.loads((folder / "case.json").read_text("utf-8").replace("{case}", here))
        cursor = told.get("cursor")
        return cls(
            folder=folder,
            settings=told["settings"],
            cursor=None if cursor is None else Cursor(cursor),
            invalid=frozenset(told.get("invalid", ())),
        )

    @property
    def expected(self) -> Path:
        """The golden file of this case."""
        return self.folder.parent.parent / "expected" / f"{self.folder.name}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a pull gave: its batches and, where it ended in one, its error."""

    batches: tuple[Batch, ...]
    error: ConnectorError | None = None

    @property
    def items(self) -> tuple[Item, ...]:
        """All items in the order they came."""
        return tuple(item for batch in self.batches for item in batch.items)

    @property
    def cursor(self) -> Cursor | None:
        """The cursor that would be stored at the end; None where no batch carried one."""
        return next((batch.cursor for batch in reversed(self.batches) if batch.cursor is not None), None)


def pull(spec: ConnectorSpec[Any], case: Case, cursor: Cursor | None) -> Outcome:
    """Pull the recorded case from this cursor to the end. Anything but a ConnectorError passes through."""
    return asyncio.run(_with_connector(spec, case, lambda connector: _collect(connector, cursor)))


def check_source(spec: ConnectorSpec[Any], case: Case) -> ConnectorError | None:
    """Run the connector's own check against the recorded case; the error it gave, if one."""
    return asyncio.run(_with_connector(spec, case, _check))


async def _with_connector(spec: ConnectorSpec[Any], case: Case, use: Callable[[Connector], Awaitable[_Told]]) -> _Told:
    async with httpx.AsyncClient(transport=replay(case.folder)) as client:
        return await use(spec.connect(spec.config.model_validate(case.settings), client, lambda: FROZEN))


async def _check(connector: Connector) -> ConnectorError | None:
    try:
        await connector.check()
    except ConnectorError as error:
        return error
    return None


async def _collect(connector: Connector, cursor: Cursor | None) -> Outcome:
    batches: list[Batch] = []
    try:
        async for batch in connector.pull(cursor):
            batches.append(batch)
    except ConnectorError as error:
        return Outcome(batches=tuple(batches), error=error)
    return Outcome(batches=tuple(batches))


# What a golden file shows


def render(outcome: Outcome, case: Case) -> str:
    """The outcome as readable JSON: numbers as written, the case's folder as "{case}"."""
    shown: dict[str, Any] = {"batches": [_batch(batch) for batch in outcome.batches]}
    if outcome.error is not None:
        shown["error"] = f"{type(outcome.error).__name__}: {outcome.error}"
    return _pretty(shown).replace(str(case.folder.resolve()), "{case}")


def _pretty(value: Any) -> str:
    # text.dumps prints compactly; a golden file is for people, and its numbers must be the source's all the same.
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(value, default=lambda number: orjson.Fragment(number.text), option=options).decode("utf-8")


def _batch(batch: Batch) -> dict[str, Any]:
    shown = {
        "items": [{type(item).__name__.lower(): _item(item)} for item in batch.items],
        "cursor": batch.cursor,
        "listed": None if batch.listed is None else sorted(batch.listed),
        "total": batch.total,
    }
    return {key: value for key, value in shown.items() if value is not None}


def _item(item: Item) -> dict[str, Any]:
    shown = {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
    shown["origin"] = dataclasses.asdict(item.origin) | {"fetched_at": item.origin.fetched_at.isoformat()}
    if item.subject is not None:
        shown["subject"] = dataclasses.asdict(item.subject)
    if isinstance(item, Skipped):
        shown["raw"] = _raw(item.raw)
    return {key: value for key, value in shown.items() if value not in (None, "", ())}


def _raw(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(raw).decode("ascii")


# The rules


def require(holds: bool, message: str) -> None:
    """Raise AssertionError unless it holds (this module is no test module, where pytest would rewrite `assert`)."""
    if not holds:
        raise AssertionError(message)


def require_equal(actual: str, expected: str, what: str) -> None:
    """Raise AssertionError with a line by line difference unless both texts are equal."""
    lines = difflib.unified_diff(expected.splitlines(), actual.splitlines(), "expected", "actual", lineterm="", n=2)
    require(actual == expected, "\n".join([what, *lines]))


def _require_spec(spec: ConnectorSpec[Any]) -> None:
    fields = spec.config.model_fields
    require(bool(re.fullmatch(r"[a-z][a-z0-9_]*", spec.name)), "name is a lower-case identifier")
    require(bool(spec.version and spec.title), "version and title are given")
    require(spec.contract_version == CONTRACT_VERSION, "contract_version is the one of connectors.contract")
    require(issubclass(spec.config, Settings), "config derives from connectors.contract.Settings")
    require(spec.config.model_config.get("extra") == "forbid", "config forbids unknown settings")
    require(spec.account <= fields.keys(), "every account setting is a setting")
    require(spec.min_interval > timedelta(0), "min_interval is positive")
    require(bool(spec.resource_types), "resource_types says what may come")
    require(len(set(spec.resource_types)) == len(spec.resource_types), "resource_types names each type once")
    if spec.kind is Kind.ACCOUNT:
        require(spec.account_id in spec.account, "account_id is an account setting")
        require(spec.keeps, "keeps says something of a feed alone")
    else:
        require(not spec.account and spec.account_id is None, "a feed has no account settings")


def _require_secrets_declared(config: type[BaseModel]) -> None:
    for name, field in config.model_fields.items():
        secret = "SecretStr" in str(field.annotation)
        require(secret or not _SECRET_NAME.search(name), f"the setting {name} sounds like a secret: make it SecretStr")


def _secrets(settings: BaseModel) -> list[str]:
    values = [getattr(settings, name) for name in type(settings).model_fields]
    values += [inner for value in values if isinstance(value, dict) for inner in value.values()]
    return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]


def _require_item(spec: ConnectorSpec[Any], item: Item) -> None:
    origin, where = item.origin, item.origin.source_id
    require(bool(origin.locator and where), "an origin has a locator and a source id")
    require(origin.fetched_at.utcoffset() is not None, f"{where}: fetched_at is aware of its zone")
    require(origin.fetched_at.astimezone(UTC) == FROZEN, f"{where}: fetched_at comes from the clock that is passed in")
    require(bool(_SHA256.fullmatch(origin.sha256)), f"{where}: sha256 is a hex digest")
    if isinstance(item, Found):
        _require_found(spec, item)
    elif isinstance(item, Deleted):
        require(where.startswith(f"{item.resource_type}/"), f"{where}: the source id begins with the deleted type")
    else:
        require(item.reason is not Reason.OTHER_PERSON or not item.raw, f"{where}: another person's payload stays out")


def _require_found(spec: ConnectorSpec[Any], item: Found) -> None:
    resource, where = item.resource, item.origin.source_id
    name = f"{resource.get('resourceType')}/{resource.get('id')}"
    require(where == name, f"{where}: the source id of a resource is {name}")
    require(resource["resourceType"] in spec.resource_types, f"{where}: its type is among the spec's resource_types")
    require(spec.kind is not Kind.FEED or item.subject is not None, f"{where}: a feed says whose each item is")
    require(text.loads(text.dumps(resource)) == resource, f"{where}: the resource is JSON as fhir_profiles.text has it")


def _errors(item: Found) -> list[str]:
    return [f"{issue.expression}: {issue.text}" for issue in check.check(item.resource) if issue.severity == "error"]


def _keys(items: Iterable[Item]) -> set[tuple[str, str, str]]:
    return {(type(item).__name__, item.origin.source_id, item.origin.sha256) for item in items}


class Suite:
    """The tests themselves; `suite` binds them to a connector. Collected by pytest, which parametrizes `case`."""

    spec: ClassVar[ConnectorSpec[Any]]
    folder: ClassVar[Path]

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Each folder of recorded/ is one case."""
        if "case" in metafunc.fixturenames:
            folders = sorted(path.parent for path in (self.folder / "recorded").glob("*/case.json"))
            metafunc.parametrize("case", [Case.read(path) for path in folders], ids=[path.name for path in folders])

    def test_the_spec_is_well_formed(self) -> None:
        _require_spec(self.spec)
        _require_secrets_declared(self.spec.config)

    def test_there_are_recorded_cases_and_each_expected_file_has_one(self) -> None:
        recorded = {path.parent.name for path in (self.folder / "recorded").glob("*/case.json")}
        expected = {path.stem for path in (self.folder / "expected").glob("*.json")}
        require(bool(recorded), "there is at least one recorded case")
        require(bool(os.environ.get(_WRITE)) or expected == recorded, f"one without the other: {expected ^ recorded}")

    def test_the_whole_outcome_is_the_expected_one(self, case: Case) -> None:
        actual = render(pull(self.spec, case, case.cursor), case)
        if os.environ.get(_WRITE):
            case.expected.parent.mkdir(exist_ok=True)
            case.expected.write_text(actual, "utf-8")
        require_equal(actual, case.expected.read_text("utf-8"), f"{case.expected.name} says otherwise")

    def test_a_second_pull_from_the_same_place_gives_the_same(self, case: Case) -> None:
        first, second = (render(pull(self.spec, case, case.cursor), case) for _ in range(2))
        require_equal(second, first, "the same source gave something else at the second pull")

    def test_every_item_keeps_the_contract(self, case: Case) -> None:
        for item in pull(self.spec, case, case.cursor).items:
            _require_item(self.spec, item)

    def test_every_resource_is_valid_unless_the_case_says_otherwise(self, case: Case) -> None:
        found = [item for item in pull(self.spec, case, case.cursor).items if isinstance(item, Found)]
        wrong = {item.origin.source_id: told for item in found if (told := _errors(item))}
        require(wrong.keys() == case.invalid, f"case.json expects {sorted(case.invalid)}, the check found {wrong}")

    def test_the_last_cursor_brings_nothing_new(self, case: Case) -> None:
        first = pull(self.spec, case, case.cursor)
        if first.error is not None or first.cursor is None or case.cursor is not None:
            return  # an error has no cursor worth trying; a case that starts at a cursor is such a try itself
        again = pull(self.spec, case, Cursor(first.cursor.encode("utf-8").decode("utf-8")))
        require(again.error is None, f"the pull from the last cursor failed: {again.error}")
        require(_keys(again.items) <= _keys(first.items), "the pull from the last cursor brought something new")

    def test_the_sources_check_raises_connector_errors_alone(self, case: Case) -> None:
        check_source(self.spec, case)

    def test_secrets_stay_out_of_messages_cursors_and_locators(self, case: Case) -> None:
        settings = self.spec.config.model_validate(case.settings)
        outcome, refused = pull(self.spec, case, case.cursor), check_source(self.spec, case)
        told = [repr(settings), str(settings), str(outcome.error), str(refused)]
        told += [str(batch.cursor) for batch in outcome.batches] + [item.origin.locator for item in outcome.items]
        require(not any(secret in line for secret in _secrets(settings) for line in told), "a secret shows")

    def test_errors_do_not_name_the_account(self, case: Case) -> None:
        if self.spec.account_id is None:
            return
        account = str(getattr(self.spec.config.model_validate(case.settings), self.spec.account_id))
        told = [pull(self.spec, case, case.cursor).error, check_source(self.spec, case)]
        require(not any(account in str(error) for error in told), "an error message names the account")


def suite(spec: ConnectorSpec[Any], folder: Path) -> type[Suite]:
    """The suite for one connector, whose recorded/ and expected/ lie in this folder. Bind it to a name in Test..."""
    return type(f"Test{spec.name}", (Suite,), {"spec": spec, "folder": folder})
