"""The reference is read in the order of the chapters; so must it be importable."""

import ast
import doctest
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {path.stem: ast.parse(path.read_text()) for path in ROOT.glob("reference/*.py") if path.stem != "__init__"}


def chapter(name: str) -> int:
    """The number of the chapter that a module says it belongs to, in the first line of its docstring."""
    first_line = (ast.get_docstring(MODULES[name]) or "").partition("\n")[0]
    match = re.search(r"\(chapter (\d+)\)\.$", first_line)
    assert match, f"reference/{name}.py: the first line of its docstring ends in '(chapter N).'"
    return int(match[1])


def imported(name: str) -> set[str]:
    """Full names of all that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"reference/{name}.py: imports by full name"
            source = node.module or ""
            names |= {f"{source}.{alias.name}" for alias in node.names} if source == "reference" else {source}
    return names


def of_the_reference(name: str) -> set[str]:
    return {other.split(".")[1] for other in imported(name) if other.startswith("reference.")}


def with_all_they_import(names: set[str]) -> set[str]:
    found = set(names)
    while more := set().union(*map(of_the_reference, found)) - found:
        found |= more
    return found


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_what_comes_before_it(name):
    for other in of_the_reference(name):
        assert chapter(other) <= chapter(name)
        assert name not in with_all_they_import({other}), f"{name} and {other} import each other"


@pytest.mark.parametrize("name", MODULES)
def test_no_module_knows_the_grader_or_the_peers(name):
    packages = {other.partition(".")[0] for other in imported(name)}
    assert packages.isdisjoint({"gptdojo", "transformers", "tokenizers", "hypothesis", "pytest", "solutions", "tests"})


def test_each_chapter_names_its_modules():
    for toml in ROOT.glob("solutions/*/chapter.toml"):
        for name in tomllib.loads(toml.read_text()).get("reference", []):
            assert chapter(name) == int(toml.parent.name[:2]), f"{toml.parent.name} and reference/{name}.py disagree"


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_a_module_give_what_they_say(name):
    assert doctest.testmod(import_module(f"reference.{name}")).failed == 0


def run(code: str, folder: Path) -> str:
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_prefix_of_the_chapters_is_importable_by_itself(tmp_path):
    code = ""
    for number in sorted({chapter(name) for name in MODULES}):
        folder = tmp_path / str(number) / "reference"
        folder.mkdir(parents=True)
        shutil.copy(ROOT / "reference/__init__.py", folder)
        present = sorted(name for name in MODULES if chapter(name) <= number)
        for name in present:
            shutil.copy(ROOT / f"reference/{name}.py", folder)
        # one process for all: what torch costs to import is paid once
        code += f"""
for name in [name for name in sys.modules if name.partition(".")[0] == "reference"]:
    del sys.modules[name]
sys.path[0] = {str(folder.parent)!r}
import reference
assert reference.__file__.startswith({str(folder)!r})
assert set({present!r}) <= set(dir(reference))
for name in {present!r}:
    assert getattr(reference, name).__name__ == "reference." + name
for name in {sorted(set(MODULES) - set(present))!r}:
    assert not hasattr(reference, name)
assert hasattr(reference, "GPT") == ("model" in {present!r})
names = {{}}
exec("from reference import *", names)
assert ("GPT" in names) == ("model" in {present!r})
"""
    run(code, tmp_path)


def test_importing_the_package_imports_nothing_else():
    code = "import reference; print([name for name in ('torch', 'jaxtyping', 'reference.mask') if name in sys.modules])"
    assert run(code, ROOT).strip() == "[]"


def test_every_module_needs_only_torch_numpy_and_safetensors():
    allowed = {"reference", "torch", "numpy", "safetensors"} | sys.stdlib_module_names
    blocked = ["gptdojo", "transformers", "tokenizers", "huggingface_hub", "jaxtyping", "hypothesis", "matplotlib"]
    blocked += ["rich", "tqdm", "regex", "yaml", "httpx"]
    assert allowed.isdisjoint(blocked)
    code = f"""
sys.modules.update(dict.fromkeys({blocked!r}))
import importlib
for name in {sorted(MODULES)!r}:
    importlib.import_module("reference." + name)
from reference import *; print(GPT, KVCache, Tokenizer, Llama)"""
    assert "reference.model.GPT" in run(code, ROOT)


def test_an_unknown_name_is_an_attribute_error():
    import reference

    with pytest.raises(AttributeError, match="'reference' has no attribute 'nothing'"):
        _ = reference.nothing
    assert set(reference.__all__) <= set(dir(reference))
