"""A defence is tested when its absence is noticed: an attack's test runs as it is, and against a weakened build.

    @pytest.mark.attack(21)
    @weakens("aggregator.vault.seal", "canonical", lambda value: b"")
    def test_a_row_that_was_moved_does_not_open(world): ...

The test runs twice: as it is, where it must pass, and with the one place patched, where it must fail.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest

_PARAMETER = "weakening"


class _Weakening:
    """One place, and what stands there in the weakened build."""

    def __init__(self, target: str, attribute: str, replacement: Any) -> None:
        self.target, self.attribute, self.replacement = target, attribute, replacement

    def __str__(self) -> str:
        return f"{self.target.rpartition('.')[2]}.{self.attribute}"

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(_found(self.target), self.attribute, self.replacement)


def weakens(
    target: str, attribute: str, replacement: Any, *, about: tuple[int, ...] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """target: a module, or a class in one ("aggregator.vault.view.View"); replacement: what stands for the attribute.

    about: which of the test's attacks the place guards against, where the test has several (tests/test_attacks.py).
    Stacked, each weakening alone must make the test fail.
    """
    _ = about

    def decorate(test: Callable[..., Any]) -> Callable[..., Any]:
        inner = getattr(test, "__weakened__", None)
        weakenings = [*getattr(test, "__weakenings__", []), _Weakening(target, attribute, replacement)]
        return _run_with(inner or test, weakenings, test if inner else None)

    return decorate


def _run_with(
    test: Callable[..., Any], weakenings: list[_Weakening], before: Callable[..., Any] | None
) -> Callable[..., Any]:
    @functools.wraps(test)
    def run(*args: Any, weakening: _Weakening | None, monkeypatch: pytest.MonkeyPatch, **kwargs: Any) -> None:
        if "monkeypatch" in wanted:
            kwargs["monkeypatch"] = monkeypatch
        if weakening is None:
            test(*args, **kwargs)
            return
        weakening.apply(monkeypatch)
        try:
            test(*args, **kwargs)
        except (AssertionError, pytest.fail.Exception):
            return
        raise RuntimeError(f"the build weakened at {weakening} passes this test")

    wanted = inspect.signature(test).parameters
    names = [one for one in wanted.values() if one.name != "monkeypatch"]
    added = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in (_PARAMETER, "monkeypatch")]
    del run.__wrapped__  # type: ignore[attr-defined]  # pytest reads this function's own signature
    run.__signature__ = inspect.Signature([*names, *added])  # type: ignore[attr-defined]
    run.__weakened__ = test  # type: ignore[attr-defined]
    run.__weakenings__ = weakenings  # type: ignore[attr-defined]
    marks = [
        mark
        for mark in getattr(before or test, "pytestmark", [])
        if not (mark.name == "parametrize" and mark.args[0] == _PARAMETER)
    ]
    chosen: list[_Weakening | None] = [None, *weakenings]
    marks.append(
        pytest.mark.parametrize(_PARAMETER, chosen, ids=["as it is", *(f"without {one}" for one in weakenings)]).mark
    )
    run.pytestmark = marks  # type: ignore[attr-defined]
    return run


def _found(path: str) -> Any:
    """A module or a class of one."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(_found(module), name)
