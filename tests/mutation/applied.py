"""A mutant in the place of a module that everybody has imported already: objects stay, what they do changes.

Runs in a child process that ends with the test, so nothing is undone.
"""

from __future__ import annotations

import sys
import types
from functools import cached_property
from typing import Any


def apply(module: types.ModuleType, source: str) -> None:
    """Give the module's functions, methods, generated methods and constants what the source makes of them."""
    other = types.ModuleType(module.__name__)
    other.__file__ = module.__file__
    sys.modules[module.__name__] = other  # dataclasses look their module up
    try:
        exec(compile(source, str(module.__file__), "exec"), other.__dict__)
    finally:
        sys.modules[module.__name__] = module
    for name, made in vars(other).items():
        there = vars(module).get(name)
        if isinstance(made, type) and made.__module__ == module.__name__:
            _class(there, made)
        elif _function(made) is not None:
            if made.__module__ == module.__name__:
                _code(there, made)
        elif not name.startswith("__") and not isinstance(made, types.ModuleType) and made != there:
            _constant(name, there, made)


def _class(there: Any, made: type) -> None:
    for name, member in vars(made).items():
        function = _function(member)
        if function is None:
            continue
        if function.__code__.co_filename == sys.modules[made.__module__].__file__:
            _code(_function(vars(there)[name]), function)
        elif name in ("__repr__", "__init__", "__eq__", "__hash__"):  # a dataclass's, from its fields
            setattr(there, name, member)


def _code(there: Any, made: Any) -> None:
    there.__code__, there.__defaults__, there.__kwdefaults__ = made.__code__, made.__defaults__, made.__kwdefaults__


def _function(member: Any) -> Any:
    if isinstance(member, cached_property):
        return member.func
    if isinstance(member, property):
        return member.fget
    if isinstance(member, classmethod | staticmethod):
        return member.__func__
    return member if isinstance(member, types.FunctionType) else None


def _constant(name: str, there: Any, made: Any) -> None:
    """In the module, and wherever the service has imported it by its name."""
    for holder in list(sys.modules.values()):
        if getattr(holder, "__name__", "").startswith("aggregator") and vars(holder).get(name) is there:
            setattr(holder, name, made)
