"""GPT-2 checkpoints in the form that the Hugging Face hub keeps them: config.json and safetensors (chapter 5).
What differs from our parameters: its projections are `Conv1D`, stored (in, out); old ones carry causal masks as
`attn.bias`; and some carry the head, which is the token embedding, once more."""

import json
from dataclasses import asdict, fields
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from reference.config import GPTConfig
from reference.shapes import Params, Tensor

_RENAMED = {"d_model": "n_embd", "n_ctx": "n_positions"}
_FIELDS = {field.name: _RENAMED.get(field.name, field.name) for field in fields(GPTConfig)}
_FIXED = {
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}
"""What this GPT is; a checkpoint that says otherwise is another model."""


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The folder of a checkpoint: itself, or the copy of a model of the hub ("gpt2"), downloaded once. Raises, and says
    what to do: FileNotFoundError for a path, ImportError without huggingface_hub, ConnectionError for the hub."""
    name, folder = str(name_or_path), Path(name_or_path).expanduser()
    if folder.is_dir():
        return folder
    if isinstance(name_or_path, Path) or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise FileNotFoundError(f"expected a folder with config.json and model.safetensors, but {name} is no folder")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError(f"to download {name}: pip install huggingface_hub, or give the path of a folder") from error
    try:
        files = ["config.json", "model*.safetensors", "model.safetensors.index.json", "vocab.json", "merges.txt"]
        return Path(snapshot_download(name, allow_patterns=files))
    except Exception as error:  # it raises those of its HTTP library too, whichever that is
        raise ConnectionError(
            f"could not get {name} from huggingface.co ({type(error).__name__}). Without a network: `hf download {name}` "
            "elsewhere and give the path of that folder, or train a small model with `python -m reference.train`"
        ) from error


def read_checkpoint(folder: Path) -> tuple[GPTConfig, dict[str, Tensor]]:
    """The configuration and the parameters, under our names and (out, in), in the dtype of the file.
    Raises FileNotFoundError for a missing file, ValueError for a damaged one or another architecture."""
    path = folder / "config.json"
    found = _read_json(path)
    other = {key: found[key] for key, value in _FIXED.items() if found.get(key, value) != value}
    if found.get("n_inner") not in (None, 4 * found.get("n_embd", 0)):
        other["n_inner"] = found["n_inner"]
    if other:
        raise ValueError(f"{path} is not of a GPT-2 as published: {other}")
    if missing := [key for key in _FIELDS.values() if key not in found]:
        raise ValueError(f"{path} lacks {', '.join(missing)}")
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in _read_tensors(folder).items()}
    head = tensors.pop("lm_head.weight", None)
    if head is not None and "wte.weight" in tensors and not head.equal(tensors["wte.weight"]):
        raise ValueError(f"{folder}: its lm_head.weight is not wte.weight; this GPT has one matrix for both")
    masks = (".attn.bias", ".attn.masked_bias")
    params = {name: _turned(name, tensor) for name, tensor in tensors.items() if not name.endswith(masks)}
    return GPTConfig(**{ours: found[theirs] for ours, theirs in _FIELDS.items()}), params


def write_checkpoint(folder: Path, config: GPTConfig, params: Params) -> None:
    """Write what `read_checkpoint` and transformers' GPT2LMHeadModel.from_pretrained read; creates the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {theirs: asdict(config)[ours] for ours, theirs in _FIELDS.items()}
    content = {"architectures": ["GPT2LMHeadModel"], **_FIXED, **sizes}
    (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    tensors = {f"transformer.{name}": _turned(name, tensor.detach()) for name, tensor in params.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _turned(name: str, weight: Tensor) -> Tensor:
    """Between (in, out) and (out, in), for the projections of a block."""
    projection = name.endswith(("c_attn.weight", "c_fc.weight", "c_proj.weight")) and weight.ndim == 2
    return (weight.T if projection else weight).contiguous()


def _read_json(path: Path) -> dict:
    try:
        return {**json.loads(path.read_text(encoding="utf-8"))}
    except (TypeError, ValueError) as error:  # no object, or no JSON
        raise ValueError(f"{path} is damaged: {error}") from error


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of model.safetensors, or of the shards that its index names."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    weight_map = {} if whole.exists() or not index.exists() else _read_json(index).get("weight_map", {})
    tensors: dict[str, Tensor] = {}
    for path in sorted({folder / Path(shard).name for shard in weight_map.values()} or {whole}):
        try:
            tensors |= load_file(path)
        except FileNotFoundError:
            raise FileNotFoundError(f"{path} is missing; save other formats as safetensors first") from None
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged, get it again: {error}") from error
    if absent := sorted(set(weight_map) - set(tensors)):
        raise ValueError(f"{index} promises {', '.join(absent)}, which its files do not hold")
    return tensors
