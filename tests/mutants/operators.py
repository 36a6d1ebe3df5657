"""Mistakes that people make in the code of a GPT, as operators for `make mutants`."""

import re

from gptdojo.authoring.mutation import Rewrite

MODULES = {"torch", "F", "functional", "np", "math", "nn", "itertools", "functools"}
SUMS = {"arith_expr", "term", "expr", "and_expr", "xor_expr", "or_test", "and_test"}
NOT_COMMUTATIVE = {"-", "/", "//", "%", "@"}
SYMMETRIC = {"max", "min", ".transpose", ".swapaxes", ".logical_and", ".logical_or", ".maximum", ".minimum"}
POSITIONS = {"arange", "range", "tril", "triu", "tril_", "triu_", "narrow", "diagonal", "diag_embed", "roll"}
PARTNERS = [
    ("q", "k", "v"), ("query", "key", "value"), ("queries", "keys", "values"), ("n_query", "n_key"), ("n_head", "d_head"),
    ("k_buffer", "v_buffer"), ("w_qkv", "w_out"), ("b_qkv", "b_out"), ("w_fc", "w_proj"), ("b_fc", "b_proj"),
    ("batch", "position"), ("weight", "bias"), ("tril", "triu"), ("tril_", "triu_"), ("max", "min"), ("amax", "amin"),
    ("argmax", "argmin"), ("maximum", "minimum"), ("zeros", "ones"), ("zeros_like", "ones_like"), ("sum", "mean"),
    ("softmax", "sigmoid"), ("softmax", "log_softmax"), ("cat", "stack"), ("hstack", "vstack"),
    ("repeat", "repeat_interleave"), ("any", "all"), ("exp", "exp2"), ("log", "log2"), ("sqrt", "square"),
    ("rsqrt", "sqrt"), ("sin", "cos"), ("tanh", "sigmoid"), ("logical_and", "logical_or"), ("split", "chunk"),
    ("add", "sub"), ("mul", "div"), ("append", "extend"), ("inf", "nan"), ("std", "var"),
    ("multinomial", "argmax"), ("cumsum", "cumprod"), ("logsumexp", "amax"), ("gelu", "relu"), ("floor", "ceil"),
]  # fmt: skip
WORDS = [
    ("weight", "bias"),
    ("ln_1", "ln_2"),
    ("c_fc", "c_proj"),
    ("wte", "wpe"),
    ("attn", "mlp"),
    ("c_attn", "c_proj"),
]
MINUS_INFINITY = re.compile(r"""-\s*(torch|math|np)\.inf|float\(['"]-inf['"]\)|torch\.finfo\([\w.]+\)\.min""")


def code(node):
    return node.get_code(include_prefix=False)


def separated(node):
    """The parts of a node that commas or operators separate, and the separators."""
    return [code(part) for part in node.children[::2]], [code(part) for part in node.children[1::2]]


def joined(parts, separators):
    text = parts[0]
    for separator, part in zip(separators, parts[1:], strict=False):
        text += f" {separator} {part}"
    return text


def without(sequence, index):
    return [*sequence[:index], *sequence[index + 1 :]]


def swapped(sequence, index):
    return [*sequence[:index], sequence[index + 1], sequence[index], *sequence[index + 2 :]]


class DropATerm(Rewrite):
    """A scale, a bias, a residual, one half of a condition."""

    def rewrites(self, node):
        if node.type in SUMS:
            parts, separators = separated(node)
            for index in range(len(parts)):
                yield joined(without(parts, index), without(separators, max(index - 1, 0)))
        elif node.type == "power" and code(node.children[-2]) == "**":
            yield "".join(child.get_code() for child in node.children[:-2]).strip()


class SwapOperands(Rewrite):
    """`a @ b` is not `b @ a`."""

    def rewrites(self, node):
        if node.type in ("arith_expr", "term"):
            parts, separators = separated(node)
            for index, separator in enumerate(separators):
                if separator in NOT_COMMUTATIVE:
                    yield joined(swapped(parts, index), separators)


class SwapNeighbors(Rewrite):
    """Arguments, axes, results in the other order: query and key, n_head and d_head."""

    def rewrites(self, node):
        if node.type in ("arglist", "subscriptlist", "testlist_comp", "testlist_star_expr", "testlist", "exprlist"):
            called = node.parent.get_previous_sibling() if node.parent.type == "trailer" else None
            if len(node.children) < 3 or code(node.children[1]) != "," or (called and code(called) in SYMMETRIC):
                return
            parts, _ = separated(node)
            for index in range(len(parts) - 1):
                if "=" not in parts[index + 1]:
                    yield ", ".join(swapped(parts, index))


class DropAnArgument(Rewrite):
    """An offset, a dimension, a mask that is not passed on."""

    def rewrites(self, node):
        if node.type == "trailer" and code(node.children[0]) == "(" and len(node.children) == 3:
            inside = node.children[1]
            parts = separated(inside)[0] if inside.type == "arglist" else [code(inside)]
            for index in range(len(parts)):
                yield f"({', '.join(without(parts, index))})"


class DropACall(Rewrite):
    """A transpose, a clone, a scale, an activation that is left out."""

    def rewrites(self, node):
        if node.type not in ("atom_expr", "power"):
            return
        parts = [code(child) for child in node.children]
        for index in range(1, len(parts)):
            if not parts[index].startswith("("):
                continue
            before = parts[: index - 1]
            if parts[index - 1].startswith(".") and not (len(before) == 1 and before[0] in MODULES):
                yield "".join(before + parts[index + 1 :])
            elif len(node.children[index].children) == 3:
                inside = node.children[index].children[1]
                first = separated(inside)[0][0] if inside.type == "arglist" else code(inside)
                if "=" not in first and " for " not in first and not first.startswith("*"):
                    yield "".join([f"({first})", *parts[index + 1 :]])


class ShiftAnIndex(Rewrite):
    """One too far, one too short: in a subscript, a bound, a range, a diagonal."""

    def rewrites(self, node):
        if node.type in (
            "operator",
            "number",
            "string",
            "subscript",
            "subscriptlist",
            "arglist",
            "argument",
            "keyword",
        ):
            return
        if self.is_index(node) or self.is_position(node):
            yield f"({code(node)}) + 1"
            yield f"({code(node)}) - 1"

    @staticmethod
    def is_index(node):
        holder = node.parent
        if holder is not None and holder.type in ("subscript", "subscriptlist"):
            return True
        return holder is not None and holder.type == "trailer" and code(holder.children[0]) == "["

    @staticmethod
    def is_position(node):
        trailer = node.parent
        if trailer is not None and trailer.type == "arglist":
            trailer = trailer.parent
        if trailer is None or trailer.type != "trailer" or code(trailer.children[0]) != "(":
            return False
        before = trailer.get_previous_sibling()
        return before is not None and code(before).rpartition(".")[2] in POSITIONS


class ShiftAValue(Rewrite):
    """A length, an offset or a position that is stored one off."""

    def rewrites(self, node):
        assigned = node.parent is not None and node.parent.type == "expr_stmt" and node is node.parent.children[-1]
        if assigned and (node.type in ("name", "arith_expr") or re.fullmatch(r"len\(.*\)|.*\]", code(node))):
            yield f"({code(node)}) + 1"
            yield f"({code(node)}) - 1"


class ChangeASlice(Rewrite):
    """The first instead of the last, and everything instead of a part."""

    def rewrites(self, node):
        if node.type != "subscript":
            return
        text = code(node)
        first, _, rest = text.partition(":")
        last, _, step = rest.partition(":")
        if first.strip() or last.strip():
            yield ":"
            if not step:
                yield f"{last.strip()}:{first.strip()}"
        if first.strip() and last.strip():
            yield f"{first}:"
            yield f":{last}"


class SwapPartners(Rewrite):
    """q for k, tril for triu, max for min."""

    def rewrites(self, node):
        if node.type == "name" and (node.parent is None or node.parent.type != "funcdef"):
            for group in PARTNERS:
                if node.value in group:
                    yield from (other for other in group if other != node.value)


class SwapWords(Rewrite):
    """The weights of another layer, and the axes of an einsum."""

    def rewrites(self, node):
        if node.type != "string":
            return
        for one, other in WORDS:
            if one in node.value:
                yield node.value.replace(one, other)
            if other in node.value:
                yield node.value.replace(other, one)
        if "->" in node.value:
            for index in range(node.value.index("->") + 2, len(node.value) - 2):
                yield "".join(swapped(node.value, index))


class FiniteInfinity(Rewrite):
    """A number that only looks small, in the place of minus infinity."""

    def rewrites(self, node):
        if node.type in ("atom_expr", "factor") and MINUS_INFINITY.fullmatch(code(node)):
            yield from ("0.0", "-5.0", "-100.0", "-1e4")


class ScaleANumber(Rewrite):
    """A constant that is nearly right."""

    def rewrites(self, node):
        if node.type == "number" and re.search(r"[.e]", node.value):
            value = float(node.value)
            yield from (repr(changed) for changed in (value * 2, value * 0.99, 0.0) if changed != value)


class ForceABranch(Rewrite):
    """A branch that is always taken, or skipped: as if there were no cache, or always one."""

    def rewrites(self, node):
        holder = node.parent
        if holder is None or node.type in ("keyword", "operator"):
            return
        before = node.get_previous_sibling()
        if before is None or holder.type not in (
            "if_stmt",
            "while_stmt",
            "test",
            "ternary",
            "comp_if",
            "sync_comp_for",
        ):
            return
        if code(before) in ("if", "elif", "while"):
            yield from ("False", "True")


class RemoveAStatement(Rewrite):
    """A line that is forgotten."""

    def rewrites(self, node):
        if node.type == "simple_stmt":
            text = code(node).strip()
            if not text.startswith(("return", "pass", "import", "from", "nonlocal", "global")):
                yield "pass\n"


class ChangeAnUpdate(Rewrite):
    """What is added is assigned, or taken away."""

    def rewrites(self, node):
        if node.type == "operator" and node.value in ("+=", "-=", "*=", "/="):
            yield "="
            yield {"+=": "-=", "-=": "+=", "*=": "/=", "/=": "*="}[node.value]
