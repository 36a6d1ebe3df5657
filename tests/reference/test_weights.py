import builtins
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from reference.config import GPTConfig
from reference.model import GPT

EXACT = {"rtol": 1e-9, "atol": 1e-9}
CONFIG = GPTConfig(n_layer=2, n_head=3, d_model=12, n_ctx=8, vocab_size=11)


@pytest.fixture
def checkpoint(tmp_path, random_gpt, hugging_face):
    """A folder that transformers wrote, and our model with the same weights."""
    model = random_gpt(CONFIG, 0)
    hugging_face(model).save_pretrained(tmp_path / "whole")
    return tmp_path / "whole", model


def change(folder, edit):
    """Rewrite the safetensors of a folder."""
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_checkpoint_of_transformers_loads_and_gives_its_logits(checkpoint, draw_tokens):
    folder, model = checkpoint
    tokens = draw_tokens(0, 11, 2, 8)
    loaded = GPT.from_pretrained(folder)
    assert loaded.config == CONFIG
    assert loaded.wte.weight.dtype == torch.float64
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    torch.testing.assert_close(loaded(tokens), model(tokens), rtol=0, atol=0)
    torch.testing.assert_close(loaded(tokens), GPT2LMHeadModel.from_pretrained(folder).double()(tokens).logits, **EXACT)
    assert GPT.from_pretrained(str(folder), dtype=torch.bfloat16).wte.weight.dtype == torch.bfloat16


def test_a_sharded_checkpoint_loads(tmp_path, checkpoint, hugging_face):
    _, model = checkpoint
    hugging_face(model).save_pretrained(tmp_path / "sharded", max_shard_size="10KB")
    assert len(list((tmp_path / "sharded").glob("model-*.safetensors"))) > 2
    loaded = GPT.from_pretrained(tmp_path / "sharded").state_dict()
    assert all(loaded[name].equal(tensor) for name, tensor in model.state_dict().items())

    next((tmp_path / "sharded").glob("model-00002-*")).unlink()
    with pytest.raises(FileNotFoundError, match=r"model-00002-of-.* is missing"):
        GPT.from_pretrained(tmp_path / "sharded")


def test_a_checkpoint_as_openai_published_it_loads(checkpoint):
    """Without the prefix, with the masks as buffers and with the head a second time."""
    folder, model = checkpoint

    def as_published(tensors):
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)
        tensors["lm_head.weight"] = tensors["wte.weight"].clone()
        for layer in range(2):
            tensors[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 8, 8).tril()
            tensors[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)

    change(folder, as_published)
    loaded = GPT.from_pretrained(folder).state_dict()
    assert all(loaded[name].equal(tensor) for name, tensor in model.state_dict().items())


def test_what_we_save_transformers_loads(tmp_path, random_gpt, draw_tokens):
    model, tokens = random_gpt(CONFIG, 3), draw_tokens(0, 11, 2, 8)
    model.save_pretrained(tmp_path / "ours")
    twin, report = GPT2LMHeadModel.from_pretrained(tmp_path / "ours", dtype=torch.float64, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    torch.testing.assert_close(twin.eval()(tokens).logits, model(tokens), **EXACT)
    assert isinstance(GPT2Config.from_pretrained(tmp_path / "ours").n_inner, type(None))
    again = GPT.from_pretrained(tmp_path / "ours")
    assert again.config == CONFIG
    assert all(again.state_dict()[name].equal(tensor) for name, tensor in model.state_dict().items())


def test_missing_and_misshapen_and_unknown_parameters_are_named(checkpoint):
    folder, _ = checkpoint

    def spoil(tensors):
        del tensors["transformer.h.1.ln_2.bias"]
        tensors["transformer.h.0.mlp.c_fc.weight"] = torch.zeros(12, 47)
        tensors["transformer.h.2.ln_1.bias"] = torch.zeros(12)

    change(folder, spoil)
    with pytest.raises(ValueError, match=r"does not fit its own config.json") as caught:
        GPT.from_pretrained(folder)
    message = str(caught.value)
    assert 'Missing key(s) in state_dict: "h.1.ln_2.bias"' in message
    assert 'Unexpected key(s) in state_dict: "h.2.ln_1.bias"' in message
    assert "size mismatch for h.0.mlp.c_fc.weight" in message


def test_a_head_of_its_own_is_an_error(checkpoint):
    folder, _ = checkpoint
    change(folder, lambda tensors: tensors.update({"lm_head.weight": tensors["transformer.wte.weight"] + 1}))
    with pytest.raises(ValueError, match=r"its lm_head.weight is not wte.weight"):
        GPT.from_pretrained(folder)


@pytest.mark.parametrize("size", [0, 5, 300, -1])
def test_a_truncated_file_is_an_error(checkpoint, size):
    path = checkpoint[0] / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"model.safetensors is damaged, get it again"):
        GPT.from_pretrained(path.parent)


@pytest.mark.parametrize(
    "changes",
    [{"model_type": "llama"}, {"activation_function": "relu"}, {"layer_norm_epsilon": 1e-6}, {"n_inner": 13}],
)
def test_another_architecture_is_an_error(checkpoint, changes):
    change_config(checkpoint[0], **changes)
    with pytest.raises(ValueError, match=f"not of a GPT-2 as published: .*{next(iter(changes))}"):
        GPT.from_pretrained(checkpoint[0])


@pytest.mark.parametrize("text", ["{", "[]", '{"n_layer": 2}'])
def test_a_damaged_configuration_is_an_error(checkpoint, text):
    (checkpoint[0] / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config.json (is damaged|lacks n_head, n_embd)"):
        GPT.from_pretrained(checkpoint[0])


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere", "a/b/c"])
def test_a_path_that_is_no_folder_is_an_error(name):
    with pytest.raises(FileNotFoundError, match=f"{name} is no folder"):
        GPT.from_pretrained(name)


def test_an_empty_folder_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config.json"):
        GPT.from_pretrained(tmp_path)


def test_a_name_is_looked_up_on_the_hub_and_errors_say_what_to_do(checkpoint, monkeypatch):
    import huggingface_hub

    asked = []

    def download(name, allow_patterns):
        asked.append(name)
        if name == "gpt2":
            return str(checkpoint[0])
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert GPT.from_pretrained("gpt2").config == CONFIG
    with pytest.raises(ConnectionError, match=r"Without a network.*`hf download openai/gpt9`.*reference.train"):
        GPT.from_pretrained("openai/gpt9")
    assert asked == ["gpt2", "openai/gpt9"]


def test_without_huggingface_hub_a_name_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args):
        if name == "huggingface_hub":
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="pip install huggingface_hub"):
        GPT.from_pretrained("gpt2")
