"""The tool that tests the tests: it must itself notice a test that would pass without the defence."""

from __future__ import annotations

import pytest

from tests import weaken
from tests.weaken import weakens


def _guard(number: int) -> bool:
    return number > 0


@weakens(__name__, "_guard", lambda _: True)
def test_a_test_that_looks_at_the_defence() -> None:
    assert not _guard(-1)


@weakens(__name__, "_guard", lambda _: True)
@weakens(__name__, "_guard", lambda _: "anything true")
@pytest.mark.parametrize("number", [-1, -2])
def test_weakenings_stack_and_parameters_stay(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _guard(number)
    assert monkeypatch is not None


def test_a_test_that_passes_without_the_defence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def looks_away() -> None:
        assert _guard(1)

    decorated = weakens(__name__, "_guard", lambda _: True)(looks_away)
    decorated(weakening=None, monkeypatch=monkeypatch)
    (weakening,) = decorated.__weakenings__  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match=r"weakened at test_weaken\._guard passes"):
        decorated(weakening=weakening, monkeypatch=monkeypatch)
    assert isinstance(weakening, weaken._Weakening)
