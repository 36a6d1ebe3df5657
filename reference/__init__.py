"""A GPT to study: one small module a concept, in the order of the chapters, each importing only earlier ones.
The first line of each module says its chapter. The path through: next_token, mask, attention, block, model, sampling,
kv_cache, generation; what comes after changes one thing each. At work: `python -m reference.train`, then `python -m
reference.generate "Once"`. Nothing is imported before it is asked for, so later modules may be absent."""

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reference.config import GPT2 as GPT2, GPT3 as GPT3, GPTConfig as GPTConfig
    from reference.kv_cache import KVCache as KVCache
    from reference.model import GPT as GPT
    from reference.modern_decoder import Llama as Llama, LlamaConfig as LlamaConfig
    from reference.tokenizer import Tokenizer as Tokenizer

_HOME = {"GPTConfig": "config", "GPT2": "config", "GPT3": "config", "GPT": "model", "KVCache": "kv_cache"}
_HOME |= {"Tokenizer": "tokenizer", "Llama": "modern_decoder", "LlamaConfig": "modern_decoder"}
_MODULES = {module.name for module in iter_modules(__path__)}

__all__ = [name for name, home in _HOME.items() if home in _MODULES]


def __getattr__(name: str) -> Any:
    """Import a module, or one of the names above from its module, on first use (PEP 562)."""
    if _HOME.get(name, name) not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOME.get(name, name)}")
    return getattr(module, name) if name in _HOME else module


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
