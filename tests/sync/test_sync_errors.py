"""How a run that failed is told, and when it is tried again."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest

from aggregator.errors import CallerError, OperatorError
from connectors.contract import ConnectorError, NeedsOperator, NeedsPatient, SourceChanged, Transient
from tests.sync.sync_world import Step, SyncWorld, batch, observation, patient

SECRET = "Frau Beispielmann hat F32.1"


def wait(syncing: SyncWorld, connection: str) -> float:
    """Seconds until it is due."""
    return syncing.row(connection).next_at - syncing.clock().timestamp()


TABLE: list[tuple[Exception, str, str, float]] = [
    (Transient("The source is busy."), "late", "The source is busy.", 60),
    (Transient("Too many requests.", timedelta(seconds=90)), "late", "Too many requests.", 90),
    (Transient("At once.", timedelta()), "late", "At once.", 1),
    (Transient("Come back next year.", timedelta(days=365)), "late", "Come back next year.", 12 * 3600),
    (NeedsPatient("Sign in again."), "sign-in", "Sign in again.", 60),
    (NeedsOperator("The key is missing."), "broken", "The key is missing.", 60),
    (SourceChanged("The page is HTML."), "broken", "The page is HTML.", 60),
    (ConnectorError("Something else."), "broken", "Something else.", 60),
    (ValueError(SECRET), "broken", "unexpected failure", 60),
    (RecursionError(SECRET), "broken", "unexpected failure", 60),
]


@pytest.mark.parametrize(("error", "status", "told", "seconds"), TABLE, ids=[type(row[0]).__name__ for row in TABLE])
def test_each_error_has_its_status_its_sentence_and_its_wait(
    syncing: SyncWorld,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: str,
    told: str,
    seconds: float,
) -> None:
    caplog.set_level(logging.DEBUG)
    syncing.clinic.says([batch(patient(), cursor="1"), error])
    connection = syncing.connect()
    outcome = syncing.run(connection)
    assert (outcome.status, outcome.error, outcome.stored) == (status, told, 1)
    row = syncing.row(connection)
    assert (row.status, row.error, row.failures, row.last_success, row.lease) == (status, told, 1, None, "")
    assert wait(syncing, connection) == seconds
    assert SECRET not in caplog.text


def test_the_wait_doubles_up_to_its_bound_and_a_success_ends_it(syncing: SyncWorld) -> None:
    failing: list[list[Step]] = [[Transient("Away.")] for _ in range(12)]
    syncing.clinic.says(*failing, [batch(patient())])
    connection = syncing.connect()
    waits = []
    for _ in range(12):
        syncing.run(connection)
        waits.append(wait(syncing, connection))
    assert waits == [60, 120, 240, 480, 960, 1920, 3840, 7680, 15360, 30720, 43200, 43200]
    assert syncing.run(connection).status == "fresh"
    row = syncing.row(connection)
    assert (row.failures, row.last_success) == (0, syncing.clock().timestamp())
    assert wait(syncing, connection) == 6 * 3600


def test_what_was_stored_before_the_failure_stays_and_the_next_run_goes_on_behind_it(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), cursor="1"), Transient("Away.")], [batch(observation(), cursor="2")])
    connection = syncing.connect()
    syncing.run(connection)
    assert syncing.run(connection).stored == 1
    assert syncing.clinic.cursors == [None, "1"]
    assert syncing.versions("Patient/p1") == {"identity": ["1"]}


def test_a_wrong_account_setting_names_the_setting_and_never_its_value(syncing: SyncWorld) -> None:
    signer = syncing.world.signing.signer(syncing.fresh())
    cases: dict[str, dict[str, object]] = {
        "password is not a setting of an account": {"account": "erika", "password": SECRET},
        "account: Input should be a valid string": {"account": 7},
    }
    for told, account in cases.items():
        with pytest.raises(CallerError, match=told) as raised:
            syncing.connections.connect(signer, "klinik", account)
        assert SECRET not in str(raised.value)


def test_a_wrong_setting_of_the_operators_is_the_operators_to_mend(syncing: SyncWorld) -> None:
    source = syncing.registry.source("klinik")
    source.settings.settings["sekret"] = SECRET
    with pytest.raises(OperatorError, match=r"^the source's settings: sekret: Extra inputs are not permitted$"):
        source.check({"account": "erika"})


def test_a_feed_is_connected_by_a_code_alone(syncing: SyncWorld) -> None:
    signer = syncing.world.signing.signer(syncing.fresh())
    with pytest.raises(CallerError, match="labor is connected with an activation code from the practice"):
        syncing.connections.connect(signer, "labor", {})
