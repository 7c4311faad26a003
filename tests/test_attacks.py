"""Every attack has its test, and each was seen to fail against a weakened build (../shared/attacks.md)."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.weaken import _found as found

TESTS = Path(__file__).parent
DUE = tuple(range(1, 59))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """A marked test: where, which numbers it carries, and which of them one of its weakenings is about."""

    test: str
    numbers: frozenset[int]
    weakened: frozenset[int]


def attacks() -> Iterator[Attack]:
    for path in sorted(TESTS.rglob("test_*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        of_all = _numbers(_assigned(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                numbers = of_all | _numbers(node.decorator_list)
                if numbers:
                    weakened = frozenset().union(*(_about(one, numbers) for one in node.decorator_list))
                    name = f"{path.relative_to(TESTS.parent)}::{node.name}"
                    yield Attack(test=name, numbers=numbers, weakened=weakened)


def _assigned(tree: ast.Module) -> list[ast.expr]:
    values = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in node.targets)
    ]
    return [one for value in values for one in (value.elts if isinstance(value, ast.List | ast.Tuple) else [value])]


def _numbers(expressions: list[ast.expr]) -> frozenset[int]:
    return frozenset(
        argument.value
        for one in expressions
        if isinstance(one, ast.Call) and ast.unparse(one.func) == "pytest.mark.attack"
        for argument in one.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, int)
    )


def _about(decorator: ast.expr, numbers: frozenset[int]) -> frozenset[int]:
    """The numbers that a weakening is about: those it names, else the test's only one."""
    if not (isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "weakens"):
        return frozenset()
    for keyword in decorator.keywords:
        if keyword.arg == "about":
            return frozenset(ast.literal_eval(keyword.value))
    return numbers if len(numbers) == 1 else frozenset()


def test_every_attack_has_a_test_that_was_seen_to_fail_against_a_weakened_build() -> None:
    found = list(attacks())
    tested = set().union(*(one.numbers for one in found))
    weakened = set().union(*(one.weakened for one in found))
    assert set(DUE) - tested == set()
    assert set(DUE) - weakened == set()


def test_what_a_weakening_is_about_the_test_is_about() -> None:
    assert [one.test for one in attacks() if not one.weakened <= one.numbers] == []


def test_every_place_that_is_weakened_is_there() -> None:
    """So that who renames one hears of it here, and not in a test that they did not run."""
    gone = [(target, name) for target, name in _places() if not hasattr(found(target), name)]
    assert gone == []


def _places() -> set[tuple[str, str]]:
    """(target, attribute) of every weakening that names them plainly."""
    calls = (
        node
        for path in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "weakens"
    )
    named = (call.args[:2] for call in calls)
    return {
        (target.value, name.value)
        for target, name in named
        if isinstance(target, ast.Constant) and isinstance(name, ast.Constant)
    }


def report() -> str:
    by = defaultdict(list)
    for one in attacks():
        for number in one.numbers:
            by[number].append(one)
    lines = []
    for number in DUE:
        ones = by[number]
        lines.append(f"{number}: {len(ones)} tests, {sum(number in o.weakened for o in ones)} weakened")
        lines += [f"     {'W' if number in o.weakened else ' '} {o.test} {sorted(o.numbers)}" for o in ones]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(report() + "\n")
