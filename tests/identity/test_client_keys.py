"""Keys that a client keeps at an address of its own: when they are fetched, and when an old one is gone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
from joserfc.jwk import ECKey, KeySet, RSAKey

from aggregator.errors import OperatorError
from aggregator.identity import client_keys
from aggregator.identity.client_keys import FetchedKeys, key_set
from connectors.contract import Transient
from tests.vault.world import FrozenClock
from tests.weaken import weakens

pytestmark = pytest.mark.storeless

OLD, NEW = (ECKey.generate_key("P-384", {"kid": kid}) for kid in ("old", "new"))
ADDRESS = "https://praxis.example/jwks.json"


class Site:
    """What is at the address, and how often it was asked."""

    def __init__(self, *keys: ECKey) -> None:
        self.body = self.of(*keys)
        self.fails = False
        self.asked = 0

    @staticmethod
    def of(*keys: ECKey) -> bytes:
        return orjson.dumps(KeySet(list(keys)).as_dict(private=False))

    def get(self, address: str) -> bytes:
        assert address == ADDRESS
        self.asked += 1
        if self.fails:
            raise Transient("The source did not answer in time: it is tried again.")
        return self.body


@pytest.fixture
def site() -> Site:
    return Site(OLD)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def keys(site: Site, clock: FrozenClock) -> FetchedKeys:
    return FetchedKeys("clients.praxis.jwks_uri", ADDRESS, site.get, clock)


def kids(keys: FetchedKeys, kid: str | None = "old") -> list[str | None]:
    return [key.kid for key in keys.having(kid)]


def test_nothing_is_fetched_before_it_is_needed_and_then_once(keys: FetchedKeys, site: Site) -> None:
    assert site.asked == 0
    assert [kids(keys) for _ in range(3)] == [["old"]] * 3
    assert site.asked == 1


def test_a_key_that_is_not_known_is_looked_for_at_most_once_a_minute(
    keys: FetchedKeys, site: Site, clock: FrozenClock
) -> None:
    kids(keys)
    site.body = site.of(OLD, NEW)
    assert kids(keys, "new") == ["old"]
    clock.advance(seconds=60)
    assert kids(keys, "new") == ["old", "new"]
    for _ in range(100):
        kids(keys, "never")
    assert site.asked == 2
    clock.advance(seconds=59)
    kids(keys, "never")
    assert site.asked == 2
    clock.advance(seconds=1)
    kids(keys, "never")
    assert site.asked == 3


def test_a_key_that_is_no_longer_there_is_gone_with_the_next_fetch(
    keys: FetchedKeys, site: Site, clock: FrozenClock
) -> None:
    kids(keys)
    site.body = site.of(NEW)
    clock.advance(seconds=60)
    assert kids(keys, "new") == ["new"]


def test_and_after_ten_minutes_though_nobody_asks_for_another(
    keys: FetchedKeys, site: Site, clock: FrozenClock
) -> None:
    kids(keys)
    site.body = site.of(NEW)
    clock.advance(seconds=599)
    assert kids(keys, "old") == ["old"]
    clock.advance(seconds=1)
    assert kids(keys, "old") == ["new"]


def test_where_nobody_answers_the_old_ones_count_for_an_hour(keys: FetchedKeys, site: Site, clock: FrozenClock) -> None:
    kids(keys)
    site.fails = True
    clock.advance(seconds=3599)
    assert kids(keys) == ["old"]
    clock.advance(seconds=1)
    with pytest.raises(LookupError):
        kids(keys)
    assert site.asked == 2
    site.fails = False
    clock.advance(seconds=60)
    assert kids(keys) == ["old"]


@pytest.mark.attack(50)
@weakens(
    "aggregator.identity.client_keys.FetchedKeys",
    "_within",
    lambda self, since, s: self._clock().timestamp() - since < s,
)
def test_a_clock_that_is_set_back_makes_no_key_young(keys: FetchedKeys, site: Site, clock: FrozenClock) -> None:
    kids(keys)
    site.body = site.of(NEW)
    clock.advance(days=-1)
    assert kids(keys) == ["new"]


def test_while_one_fetches_the_others_go_on_with_what_there_is(clock: FrozenClock) -> None:
    going, done = threading.Event(), threading.Event()
    site = Site(OLD)

    def slow(address: str) -> bytes:
        if site.asked:
            going.set()
            assert done.wait(10)
        return site.get(address)

    keys = FetchedKeys("clients.praxis.jwks_uri", ADDRESS, slow, clock)
    kids(keys)
    clock.advance(seconds=600)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(kids, keys)
        assert going.wait(10)
        assert kids(keys) == ["old"]
        done.set()
        assert first.result() == ["old"]
    assert site.asked == 2


def test_of_ten_who_need_the_first_fetch_one_fetches(keys: FetchedKeys, site: Site) -> None:
    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(lambda _: kids(keys), range(10))) == [["old"]] * 10
    assert site.asked == 1


@pytest.mark.attack(43)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"keys": 5}', b'{"keys": [5]}', b'{"keys": []}', b"\xff"])
def test_what_is_no_key_set_changes_nothing_and_is_told_without_the_address(
    keys: FetchedKeys, site: Site, clock: FrozenClock, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    kids(keys)
    site.body = body
    clock.advance(seconds=600)
    with caplog.at_level(logging.WARNING):
        assert kids(keys) == ["old"]
    (told,) = caplog.messages
    assert told == "clients.praxis.jwks_uri: what is there is no JWK set; write the client's public keys there"


def test_nor_is_the_address_told_where_nobody_answers(
    keys: FetchedKeys, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.fails = True
    with caplog.at_level(logging.WARNING), pytest.raises(LookupError):
        kids(keys)
    assert caplog.messages == ["clients.praxis.jwks_uri: The source did not answer in time: it is tried again."]


WRONG: dict[str, Callable[[], Any]] = {
    "holds a private key": lambda: KeySet([OLD]).as_dict(private=True),
    "holds more than 20 keys": lambda: {"keys": [OLD.as_dict(private=False)] * 21},
    "is no JWK set": lambda: {"keys": [{"kty": "oct"}]},
}


@pytest.mark.parametrize(("told", "made"), WRONG.items(), ids=WRONG)
def test_a_set_that_is_not_taken(told: str, made: Callable[[], Any]) -> None:
    with pytest.raises(OperatorError, match=f"^here {told}"):
        key_set(made(), "here")


def test_a_key_that_is_too_weak_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = RSAKey.generate_key(2048).as_dict(private=False)
    key_set({"keys": [weak]}, "here")
    monkeypatch.setattr(client_keys, "_LEAST_RSA_BITS", 2049)  # making one of 1024 bits is a warning by itself
    with pytest.raises(OperatorError, match=r"^here holds an RSA key of less than 2049 bits"):
        key_set({"keys": [weak]}, "here")
