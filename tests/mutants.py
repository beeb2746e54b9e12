"""Mutation score: small changes of the code, one at a time, that tests have to notice.

    python -m tests.mutants [--sample N] [--only MODULE] [--seed N]

Nothing is written into the tree: in the process of the tests the module is compiled anew with the
change (`BEAM_MUTANT=module:number`, read by this file as a plugin of pytest). `--sample 0`: all.
"""

import argparse
import ast
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 300
"""A mutant that makes the tests run longer was noticed."""
SAMPLE = 40
TARGETS = {
    "payment_svc.ledger": ("tests/payment/test_ledger.py", "tests/payment/test_refunds.py"),
    "kit.states": ("tests/payment/test_machine.py", "tests/payment/test_attempts.py"),
    "kit.jose": (
        "tests/kit/test_tokens.py",
        "tests/kit/test_dpop.py",
        "tests/identity/test_tokens_and_clients.py",
        "tests/identity/test_upstream.py",
        "tests/identity/test_back_channel.py",
    ),
    "kit.inbox": ("tests/kit/events",),
    "kit.outbox": ("tests/kit/events",),
    "kit.inserts": ("tests/kit/test_inserts.py",),
    "kit.driver": ("tests/kit/test_inserts.py",),
    "kit.pool": ("tests/kit/test_pool.py",),
    "kit.lookups": ("tests/kit/test_lookups.py",),
    "kit.creations": ("tests/kit/test_creations.py",),
    "kit.lane": ("tests/flows/test_lane.py",),
    "kit.revocations": ("tests/kit/test_revocations.py",),
}
_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.And: ast.Or, ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add,
}  # fmt: skip
_TOLD = ("log.", "crash.", "traces.")
"""Calls that tell or test: their absence changes no promise."""


class _Mutator(ast.NodeTransformer):
    """Applies the change with this number; counts all of them."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.count, self.what = wanted, 0, ""

    def _mine(self, node: Any, what: str) -> bool:
        self.count += 1
        if self.count - 1 != self.wanted:
            return False
        self.what = f"line {node.lineno}: {what}"
        return True

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        other = _SWAPS.get(type(node.ops[0]))
        if other is not None and self._mine(node, f"{ast.unparse(node)} turned round"):
            node.ops = [cast(ast.cmpop, other()), *node.ops[1:]]
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        if self._mine(node, f"and/or in {ast.unparse(node)}"):
            node.op = cast(ast.boolop, _SWAPS[type(node.op)]())
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        other = _SWAPS.get(type(node.op))
        if other is not None and self._mine(node, f"+/- in {ast.unparse(node)}"):
            node.op = cast(ast.operator, other())
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Not) and self._mine(node, f"{ast.unparse(node)} without not"):
            return node.operand
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if self._mine(node, f"no {ast.unparse(node)}"):
            return ast.copy_location(ast.Pass(), node)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        self.generic_visit(node)
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if not isinstance(call, ast.Call) or ast.unparse(call.func).startswith(_TOLD):
            return node
        if self._mine(node, f"no {ast.unparse(call)[:60]}"):
            return ast.copy_location(ast.Pass(), node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        return node  # columns and fields: the migrations and schemas say what they are


def _mutated(source: str, number: int) -> tuple[ast.Module, _Mutator]:
    mutator = _Mutator(number)
    return ast.fix_missing_locations(mutator.visit(ast.parse(source))), mutator


def _source(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


class _Loader(importlib.machinery.SourceFileLoader):
    number = 0

    def get_code(self, fullname: str) -> Any:
        tree, _ = _mutated(Path(self.path).read_text(), self.number)
        return compile(tree, self.path, "exec")


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, module: str, number: int) -> None:
        self._module, self._number = module, number

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.origin is not None
        loader = _Loader(name, spec.origin)
        loader.number = self._number
        return importlib.util.spec_from_file_location(name, spec.origin, loader=loader)


if os.environ.get("BEAM_MUTANT"):
    _module, _, _number = os.environ["BEAM_MUTANT"].partition(":")
    sys.meta_path.insert(0, _Finder(_module, int(_number)))


def _notice(tests: Sequence[str], mutant: str) -> bool:
    """Whether the tests fail with this mutant."""
    words = ["-m", "pytest", "-x", "-q", "-p", "tests.mutants", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [sys.executable, *words, "-m", "not long", *tests],
            cwd=ROOT,
            env=os.environ | {"BEAM_MUTANT": mutant},
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def _all(modules: Sequence[str]) -> Iterator[tuple[str, int, str]]:
    for module in modules:
        source = _source(module).read_text()
        for number in range(_mutated(source, -1)[1].count):
            yield module, number, _mutated(source, number)[1].what


def main() -> int:
    from beam import reports

    parser = argparse.ArgumentParser(prog="tests.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=SAMPLE)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=TARGETS, action="append")
    asked = parser.parse_args()
    mutants = list(_all(asked.only or list(TARGETS)))
    chosen = mutants
    if asked.sample:
        # A sample for a report, nothing secret.
        chosen = random.Random(asked.seed).sample(mutants, min(asked.sample, len(mutants)))
    for module in {module for module, _, _ in chosen}:
        if _notice(TARGETS[module], ""):
            print(f"the tests of {module} fail without any change")
            return 2
    survived = []
    for module, number, what in chosen:
        noticed = _notice(TARGETS[module], f"{module}:{number}")
        print(f"{'✓' if noticed else '✗'} {module} {what}", flush=True)
        if not noticed:
            survived.append(f"{module} {what}")
    killed = len(chosen) - len(survived)
    report = {"mutants": len(chosen), "of": len(mutants), "killed": killed, "survived": survived}
    reports.keep("mutants", report)
    print(f"{killed} of {len(chosen)} noticed ({len(mutants)} there are)")
    return 0 if killed >= 0.9 * len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
