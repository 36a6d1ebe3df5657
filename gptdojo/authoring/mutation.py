"""Makes mutants of the right variants of an exercise, with the operators of cosmic-ray and those that the course adds."""

import ast
import difflib
import dis
import sys
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any

import parso
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.operators.provider import OperatorProvider
from parso.tree import NodeOrLeaf

from gptdojo.catalog import load_module
from gptdojo.course import Course, Exercise
from gptdojo.solutions import right_variants, solution_namespace

CATALOG_DECORATORS = {"alternative", "misconception"}


class Rewrite(Operator):
    """An operator that puts other code in the place of a node."""

    @abstractmethod
    def rewrites(self, node: NodeOrLeaf) -> Iterable[str]:
        """Yield what may stand in the place of `node`; nothing where the operator has no business."""

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[tuple]:
        """Yield the place of `node` once for each rewrite."""
        return ((node.start_pos, node.end_pos) for _ in self.rewrites(node))

    def mutate(self, node: NodeOrLeaf, index: int) -> NodeOrLeaf:
        """Return the node of the rewrite with the number `index`."""
        return parso.parse(node.get_first_leaf().prefix + list(self.rewrites(node))[index])

    @classmethod
    def examples(cls) -> tuple:
        """Return nothing: what an operator does is seen in the mutants."""
        return ()


@dataclass(frozen=True)
class Mutant:
    """One change of one variant.

    `was` and `becomes` are the lines that differ, formatted as `ast.unparse` does; `at` tells apart lines that occur more
    than once: 1 for the first, 0 where there is only one.
    """

    exercise: str
    variant: str
    was: str
    becomes: str
    at: int
    source: str

    @property
    def name(self) -> tuple[str, str, str, str, int]:
        """What it is known by; stays the same when other lines of the file change."""
        return self.exercise, self.variant, self.was, self.becomes, self.at

    @property
    def unchanged(self) -> bool:
        """Whether this is the variant as it stands."""
        return not self.was and not self.becomes

    def __str__(self) -> str:
        place = f" (line {self.at} of this kind)" if self.at else ""
        lines = [f"{self.exercise}, {self.variant}{place}"]
        lines += [f"  - {line}" for line in self.was.splitlines()] + [
            f"  + {line}" for line in self.becomes.splitlines()
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Variant:
    """The code of one right variant.

    `source` defines it and the helpers of its file; `namespace` holds what else its module defines.
    """

    exercise: str
    name: str
    source: str
    imports: str
    namespace: Mapping[str, Any]


def variants_of(exercise: Exercise) -> Iterator[Variant]:
    """Yield the right variants of an exercise, the solution first."""
    for name, function in right_variants(exercise).items():
        if name == "solution":
            path, namespace = exercise.chapter.solution, solution_namespace(exercise.chapter)
        else:
            path, namespace = exercise.chapter.alternatives, vars(sys.modules[function.__module__])
        defined = exercise.name if name == "solution" else function.__name__
        source, imports = _closure(path.read_text(encoding="utf-8"), defined, namespace)
        own = {defined for node in ast.parse(source).body for defined in _defines(node)}
        yield Variant(exercise.name, name, source, imports, {k: v for k, v in namespace.items() if k not in own})


def _closure(text: str, name: str, namespace: Mapping[str, Any]) -> tuple[str, str]:
    """Return the definition of `name` with what it uses of its file, and the imports of the file.

    Without comments, docstrings, annotations, texts of errors and the decorators of the catalog: they are not what is graded.
    """
    body = [_Bare().visit(node) for node in ast.parse(text).body]
    imports: list[ast.stmt] = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    homes = {defined: node for node in body for defined in _defines(node) if defined in namespace}
    wanted, waiting = set[ast.stmt](), [name]
    while waiting:
        node = homes.get(waiting.pop())
        if node is not None and node not in wanted:
            wanted.add(node)
            waiting += _globals_of(compile(ast.unparse(node), "", "exec"))
    kept = [node for node in body if node in wanted]
    return ast.unparse(ast.Module(kept, [])), ast.unparse(ast.Module(imports, []))


def _defines(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]


def _globals_of(code: CodeType) -> Iterator[str]:
    yield from (step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _globals_of(part)


class _Bare(ast.NodeTransformer):
    """Takes away what is not the work of the code, in place."""

    def visit(self, node: ast.AST) -> Any:
        super().visit(node)
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.body = [part for part in node.body if not _is_text(part)] or [ast.Pass()]
            node.decorator_list = [part for part in node.decorator_list if not _is_of_the_catalog(part)]
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            return ast.fix_missing_locations(ast.copy_location(ast.Assign([node.target], node.value), node))
        return node


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_of_the_catalog(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CATALOG_DECORATORS


def _is_left_out(name: str) -> bool:
    """Tell the operators that nobody applies by mistake, and those that change nothing.

    Shifts; `|` for `+`; `is` for `==`; unary plus; and what wants to be told the names of variables.
    """
    parts = set(name.split("_"))
    mixed = any(len(parts & kind) == 1 for kind in ({"Is", "IsNot"}, {"BitAnd", "BitOr", "BitXor"}))
    return "Shift" in name or "UAdd" in parts or mixed or name.startswith("Variable")


@lru_cache
def operators(course: Course) -> Sequence[Operator]:
    """Return the operators of cosmic-ray and those of the course's tests/mutants/operators.py."""
    provider = OperatorProvider()
    found = [provider[name]() for name in provider if not _is_left_out(name)]
    own = course.root / "tests" / "mutants" / "operators.py"
    if own.exists():
        module = load_module(own)
        classes = [
            item for item in vars(module).values() if isinstance(item, type) and item.__module__ == module.__name__
        ]
        found += [item() for item in classes if issubclass(item, Operator)]
    return found


def unchanged(variant: Variant) -> Mutant:
    """Return the variant as it stands, which has to survive."""
    return Mutant(variant.exercise, variant.name, "", "", 0, variant.source)


def mutants_of(course: Course, variant: Variant) -> Iterator[Mutant]:
    """Yield the mutants of a variant, each change once."""
    seen = {variant.source}
    nodes = list(ast_nodes(get_ast(variant.source)))
    for operator in operators(course):
        for occurrence in range(sum(1 for node in nodes for _ in operator.mutation_positions(node))):
            changed = mutate_code(variant.source, operator, occurrence)
            try:
                source = ast.unparse(ast.parse(changed))
            except (SyntaxError, ValueError):
                continue
            if source not in seen:
                seen.add(source)
                yield _described(variant, source)


def _described(variant: Variant, source: str) -> Mutant:
    before, after = variant.source.splitlines(), source.splitlines()
    blocks = [
        block
        for block in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        if block[0] != "equal"
    ]
    first, last, start, stop = blocks[0][1], blocks[-1][2], blocks[0][3], blocks[-1][4]
    was, becomes = ("\n".join(line.strip() for line in lines) for lines in (before[first:last], after[start:stop]))
    height = last - first
    places = [
        number
        for number in range(len(before) - height + 1)
        if "\n".join(line.strip() for line in before[number : number + height]) == was
    ]
    at = places.index(first) + 1 if len(places) > 1 else 0
    return Mutant(variant.exercise, variant.name, was, becomes, at, source)
