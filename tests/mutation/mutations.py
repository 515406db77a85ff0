"""Small wrong changes of a module, one at a time: what a test suite that looks at behaviour must notice.

Changed are comparisons, `and` and `or`, `not` and truth of conditions, whole numbers, arithmetic, and statements that
raise or only call. Texts, docstrings and type annotations other than bounds (`Meta`) are left as they are.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
COMBINED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitXor,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}


@dataclass(frozen=True)
class Mutation:
    """The `number`-th possible change of a module."""

    number: int
    line: int
    was: str
    becomes: str


class _Change(ast.NodeTransformer):
    """Counts the possible changes; makes the one with the number that is wanted."""

    def __init__(self, wanted: int | None) -> None:
        self.wanted = wanted
        self.count = 0
        self.found: list[Mutation] = []

    def _offer(self, node: ast.stmt | ast.expr, changed: ast.AST) -> ast.AST:
        number, self.count = self.count, self.count + 1
        if self.wanted is None:
            self.found.append(Mutation(number, node.lineno, ast.unparse(node)[:120], ast.unparse(changed)[:120]))
        return ast.copy_location(changed, node) if number == self.wanted else node

    def visit(self, node: ast.AST) -> ast.AST:
        changed = super().visit(node)
        if changed is not node or not isinstance(node, ast.stmt | ast.expr):
            return changed
        for other in _changes(node):
            changed = self._offer(node, other)
            if changed is not node:
                break
        return changed

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        node.defaults = [self.visit(value) for value in node.defaults]  # type: ignore[misc]
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.visit_arguments(node.args)
        node.body = [self.visit(part) for part in node.body]  # type: ignore[misc]
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = [self.visit(part) for part in node.body]  # type: ignore[misc]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if "Meta" in ast.unparse(node.annotation):
            node.annotation = self.visit(node.annotation)  # type: ignore[assignment]
        if node.value is not None:
            node.value = self.visit(node.value)  # type: ignore[assignment]
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """What is said to people is not changed: of what an exception is made with, only whether it is raised."""
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        said = name in ("Refused", "InvalidInput", "Tampered", "Unavailable", "Inadmissible")
        return node if said else self.generic_visit(node)


def _changes(node: ast.stmt | ast.expr) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARED:
            yield ast.Compare(node.left, [COMPARED[type(op)]()], node.comparators)
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.BinOp(op=op) if type(op) in COMBINED and not _is_type(node):
            yield ast.BinOp(node.left, COMBINED[type(op)](), node.right)
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)
        case ast.Raise() | ast.AugAssign():
            yield ast.Pass()
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.If(test=ast.Name() | ast.Call() | ast.Attribute()):
            yield ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        case ast.IfExp(test=ast.Name() | ast.Call() | ast.Attribute()):
            yield ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        case _:
            return


def _is_type(node: ast.BinOp) -> bool:
    return isinstance(node.op, ast.BitOr) and any(
        isinstance(side, ast.Constant) and side.value is None for side in (node.left, node.right)
    )


def mutations(source: str) -> list[Mutation]:
    """Every change of a module that there is."""
    change = _Change(None)
    change.visit(ast.parse(source))
    return change.found


def mutated(source: str, number: int) -> ast.Module:
    """The module with that change made."""
    tree = ast.parse(source)
    changed = _Change(number).visit(tree)
    assert isinstance(changed, ast.Module)
    return ast.fix_missing_locations(changed)
