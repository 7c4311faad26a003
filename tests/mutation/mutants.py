"""Small wrongs in a module: one change of its syntax tree each.

mutmut 3 was tried first: it leaves out every decorated function (so each cached_property and what stands in a class),
which in these modules is a third of the keys.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """name: stable under edits elsewhere in the file: "qualified.name: what stood there -> what stands there now"."""

    name: str
    owner: tuple[str, ...]
    source: str


def of(source: str) -> list[Mutant]:
    """All of one module. The same wrong twice in one function is numbered."""
    tree, made, seen = ast.parse(source), list[Mutant](), dict[str, int]()
    before = ast.unparse(tree)
    for path, owner in _places(tree, (), ()):
        node = _at(tree, path)
        for other in _wrongs(node):
            whole = _with(tree, path, other)
            text = ast.unparse(ast.fix_missing_locations(whole))
            if text == before:
                continue
            line = _told(_line(tree, path)), _told(_line(whole, path))
            name = f"{'.'.join(owner) or 'module'}: {line[0]} -> {line[1]}"
            seen[name] = seen.get(name, 0) + 1
            made.append(Mutant(name if seen[name] == 1 else f"{name} ({seen[name]})", owner, text))
    return made


_Path = tuple[tuple[str, int | None], ...]
"""Field names, and indexes where the field is a list, from the module down."""


def _places(node: ast.AST, path: _Path, owner: tuple[str, ...]) -> Iterator[tuple[_Path, tuple[str, ...]]]:
    """Every node that may be wrong, with the names of the classes and functions around it."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "type_params", "names"):
            continue  # types are mypy's; a decorator shapes a class, it decides nothing
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or _is_docstring(child) or isinstance(child, ast.Import | ast.ImportFrom):
                continue
            here = (*path, (name, index))
            inner = owner
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                inner = (*owner, child.name)
            yield here, inner
            if not isinstance(child, ast.Raise):  # the words of an error are nobody's promise
                yield from _places(child, here, inner)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _wrongs(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in the node's place."""
    match node:
        case ast.Compare():
            for index, operator in enumerate(node.ops):
                for other in _COMPARED[type(operator)]:
                    made = copy.deepcopy(node)
                    made.ops[index] = other()
                    yield made
        case ast.BoolOp():
            yield ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)
            for index in range(len(node.values)):
                rest = node.values[:index] + node.values[index + 1 :]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.UnaryOp(op=ast.USub()):
            yield node.operand
        case ast.BinOp() if type(node.op) in _COMPUTED:
            yield ast.BinOp(node.left, _COMPUTED[type(node.op)](), node.right)
        case ast.AugAssign():
            yield ast.Pass()
            if type(node.op) in _COMPUTED:
                yield ast.AugAssign(node.target, _COMPUTED[type(node.op)](), node.value)
        case ast.Constant():
            yield from (ast.Constant(other) for other in _other_values(node.value))
        case ast.IfExp():
            yield node.body
            yield node.orelse
        case ast.If():
            yield ast.If(ast.Constant(True), node.body, node.orelse)
            yield ast.If(ast.Constant(False), node.body, node.orelse)
        case ast.While():
            yield ast.While(ast.Constant(False), node.body, node.orelse)
        case ast.comprehension() if node.ifs:
            yield ast.comprehension(node.target, node.iter, [], node.is_async)
        case ast.Slice():
            yield from _slices(node)
        case ast.Return() if node.value is not None and not _is_none(node.value):
            yield ast.Return(ast.Constant(None))
        case ast.Raise() | ast.Expr():
            yield ast.Pass()
        case ast.Continue():
            yield ast.Break()
        case ast.Call():
            yield from _calls(node)


def _other_values(value: object) -> list[int | str | bytes]:
    if value is True or value is False:
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1]
    if isinstance(value, str):
        return ["XX" + value]
    if isinstance(value, bytes):
        return [b"XX" + value]
    return []


def _slices(node: ast.Slice) -> Iterator[ast.AST]:
    if node.lower:
        yield ast.Slice(None, node.upper, node.step)
    if node.upper:
        yield ast.Slice(node.lower, None, node.step)


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    """One argument less, where there are several."""
    if len(node.args) + len(node.keywords) < 2:
        return
    for index in range(len(node.args)):
        yield ast.Call(node.func, node.args[:index] + node.args[index + 1 :], node.keywords)
    for index in range(len(node.keywords)):
        yield ast.Call(node.func, node.args, node.keywords[:index] + node.keywords[index + 1 :])


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _at(tree: ast.AST, path: _Path) -> ast.AST:
    node = tree
    for name, index in path:
        value = getattr(node, name)
        node = value if index is None else value[index]
    return node


def _with(tree: ast.AST, path: _Path, other: ast.AST) -> ast.AST:
    whole = copy.deepcopy(tree)
    parent, (name, index) = _at(whole, path[:-1]), path[-1]
    if index is None:
        setattr(parent, name, other)
    else:
        getattr(parent, name)[index] = other
    return whole


def _line(tree: ast.AST, path: _Path) -> ast.AST:
    """The statement that the place lies in: of a compound one its head alone."""
    found, node = tree, tree
    for name, index in path:
        value = getattr(node, name)
        node = value if index is None else value[index]
        if isinstance(node, ast.stmt):
            found = node
    return found


def _told(node: ast.AST) -> str:
    head = copy.copy(node)
    if isinstance(head, ast.If | ast.For | ast.While | ast.With | ast.FunctionDef | ast.ClassDef):
        head.body = [ast.Pass()]
        if isinstance(head, ast.If | ast.For | ast.While):
            head.orelse = []
        if isinstance(head, ast.FunctionDef | ast.ClassDef):
            head.decorator_list = []
    if isinstance(head, ast.Try):
        return "try"
    return " ".join(ast.unparse(ast.fix_missing_locations(head)).split()).removesuffix(": pass")
