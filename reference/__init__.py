"""A GPT to study: one small module a concept, in the order of the chapters, each importing only earlier ones.

Start with `reference.mask` and read on: attention, block, config, embedding, model, kv_cache, generation. Nothing is
imported before it is asked for, so later modules may be absent.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reference.config import GPT2 as GPT2
    from reference.config import GPT3 as GPT3
    from reference.config import GPTConfig as GPTConfig
    from reference.kv_cache import KVCache as KVCache
    from reference.model import GPT as GPT

_HOME = {"GPTConfig": "config", "GPT2": "config", "GPT3": "config", "GPT": "model", "KVCache": "kv_cache"}
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
