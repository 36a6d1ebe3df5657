import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from reference import generate, train
from reference.config import GPTConfig
from reference.model import GPT
from reference.tokenizer import Tokenizer
from reference.train import Plan, Trainer, text_of_python

ROOT = Path(__file__).parents[2]
TINY = Plan(n_layer=1, n_head=2, d_model=16, n_ctx=16, vocab_size=300, n_step=12, batch=6, micro_batch=4, n_warmup=3, eval_every=5)  # fmt: skip  # noqa: E501
FLAGS = ["--n-layer", "1", "--n-head", "2", "--d-model", "16", "--n-ctx", "16", "--vocab-size", "300", "--n-step", "6", "--n-warmup", "2", "--batch", "6", "--micro-batch", "2", "--eval-every", "3"]  # fmt: skip  # noqa: E501


@pytest.fixture(scope="module")
def tokens():
    return torch.tensor(Tokenizer.train(text := text_of_python()[:12_000], 300).encode(text))


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(text_of_python()[:12_000])
    return path


def finish(trainer):
    for _ in trainer.run():
        pass
    return trainer


def test_the_loss_falls_and_a_seed_repeats(tokens):
    first, second = finish(Trainer(TINY, tokens)), finish(Trainer(TINY, tokens))
    assert first.train_losses == second.train_losses
    assert first.train_losses[-1] < first.train_losses[0] - 0.1
    assert list(first.val_losses) == [5, 10, 12]
    other = Trainer(Plan(**{**TINY.__dict__, "seed": 1}), tokens)
    assert not other.batch(0).equal(first.batch(0))
    assert not first.batch(1).equal(first.batch(0))


def test_a_run_that_stopped_goes_on_bit_by_bit_as_if_it_had_not(tokens, tmp_path):
    whole, part, rest = (Trainer(TINY, tokens) for _ in range(3))
    finish(whole)
    for _, _ in zip(range(7), part.run(), strict=False):
        pass
    part.save(tmp_path / "state.safetensors")
    torch.manual_seed(99)  # whatever else the process does
    rest.load(tmp_path / "state.safetensors")
    assert rest.step == 7
    finish(rest)
    assert rest.train_losses == whole.train_losses
    assert rest.val_losses == whole.val_losses
    assert all(rest.model.params[name].equal(p) for name, p in whole.model.params.items())


def test_micro_batches_do_not_change_the_training(tokens):
    whole = finish(Trainer(Plan(**{**TINY.__dict__, "micro_batch": 6}), tokens))
    for size in (1, 4):
        part = finish(Trainer(Plan(**{**TINY.__dict__, "micro_batch": size}), tokens))
        assert part.train_losses == pytest.approx(whole.train_losses, abs=1e-4)


def test_bfloat16_autocast_trains_too(tokens):
    trainer = finish(Trainer(Plan(**{**TINY.__dict__, "bfloat16": True}), tokens))
    plain = finish(Trainer(TINY, tokens))
    assert trainer.train_losses != plain.train_losses
    assert trainer.train_losses == pytest.approx(plain.train_losses, abs=0.05)
    assert all(p.dtype == torch.float32 for p in trainer.model.parameters())


def test_validation_text_is_never_trained_on_and_counts_every_window(tokens):
    trainer = Trainer(TINY, tokens)
    assert torch.cat([trainer.train_tokens, trainer.val_tokens]).equal(tokens)
    n = (len(trainer.val_tokens) - 1) // 16
    windows = torch.stack([trainer.val_tokens[16 * i : 16 * i + 17] for i in range(n)])
    assert trainer.validate() == pytest.approx(trainer.loss(windows).item(), abs=1e-5)
    with pytest.raises(ValueError, match="expected a text of 320 tokens or more, got 300"):
        Trainer(TINY, tokens[:300])


def test_a_state_of_another_plan_is_an_error_and_a_broken_write_leaves_the_old_one(tokens, tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    trainer = Trainer(TINY, tokens)
    trainer.save(path)
    with pytest.raises(ValueError, match=r"another plan \(n_step, seed\): give --fresh"):
        Trainer(Plan(**{**TINY.__dict__, "seed": 1, "n_step": 9}), tokens).load(path)
    with pytest.raises(ValueError, match=r"another plan \(text\)"):
        Trainer(TINY, tokens.flip(0)).load(path)
    before = path.read_bytes()

    def full(tensors, target, metadata):
        Path(target).write_bytes(b"half")
        raise OSError("no space left on device")

    trainer.train_step()
    monkeypatch.setattr(train, "save_file", full)
    with pytest.raises(OSError, match="no space"):
        trainer.save(path)
    assert path.read_bytes() == before


def test_the_command_trains_resumes_plots_and_generate_uses_the_model(text_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generate, "DEFAULT_FOLDER", tmp_path / "out")
    with pytest.raises(SystemExit):
        generate.main(["The"])
    assert "There is no model yet" in capsys.readouterr().err
    command = [*FLAGS, "--text", str(text_file), "--out", str(tmp_path / "out")]
    train.main(command)
    printed = capsys.readouterr().out
    assert "validation loss" in printed
    assert "tokens/s" in printed
    assert (tmp_path / "out" / "losses.png").stat().st_size > 5000
    first = load_file(tmp_path / "out" / "model.safetensors")
    train.main(command)  # nothing left to do
    assert all(tensor.equal(first[name]) for name, tensor in load_file(tmp_path / "out" / "model.safetensors").items())
    capsys.readouterr()
    generate.main(["The assert", "--n-new", "8", "--seed", "3"])
    text = capsys.readouterr().out
    assert text.startswith("The assert")
    generate.main(["The assert", "--n-new", "8", "--seed", "3"])
    assert capsys.readouterr().out == text
    for arguments, message in (
        (["The", "--n-new", "99"], "the context is 16"),
        ([""], "at least one token"),
        (["The", "--model", "./nowhere"], "no folder"),
        (["The", "--n-new", "2", "--temperature", "-1"], "temperature of at least 0"),
    ):
        with pytest.raises(SystemExit) as stopped:
            generate.main(arguments)
        assert stopped.value.code == 1
        assert message in capsys.readouterr().err


def test_an_interrupted_command_ends_where_an_uninterrupted_one_does(text_file, tmp_path, monkeypatch):
    command = [*FLAGS, "--text", str(text_file), "--out"]
    train.main([*command, str(tmp_path / "whole")])
    train_step = Trainer.train_step

    def interrupted(trainer):
        if trainer.step == 5:
            raise KeyboardInterrupt
        train_step(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train.main([*command, str(tmp_path / "part")])
    train.main([*command, str(tmp_path / "part")])
    for name in ("model.safetensors", "training.safetensors"):
        whole, part = (load_file(tmp_path / folder / name) for folder in ("whole", "part"))
        assert all(tensor.equal(part[key]) for key, tensor in whole.items())


def test_without_matplotlib_it_trains_and_says_what_to_install(text_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    train.main([*FLAGS, "--text", str(text_file), "--out", str(tmp_path / "out"), "--bfloat16"])
    printed = capsys.readouterr().out
    assert "pip install matplotlib" in printed
    assert "validation loss" in printed
    assert not (tmp_path / "out" / "losses.png").exists()


def test_text_streams_as_it_is_sampled_and_stops_at_the_end_of_text(monkeypatch):
    tokenizer = Tokenizer([])
    chain = [*tokenizer.encode("a\u00e9b"), tokenizer.end]
    table = torch.zeros(len(tokenizer), len(tokenizer))
    for token, after in pairwise(chain):
        table[token, after] = 100.0
    monkeypatch.setattr(generate, "cached_forward", lambda model, batch: lambda tokens: table[tokens])
    model = GPT(GPTConfig(1, 1, 4, 32, len(tokenizer)))
    pieces = list(generate.stream_text(model, tokenizer, "a", 20, torch.Generator(), temperature=0))
    assert pieces == ["", "\u00e9", "b", ""]


@pytest.mark.slow
def test_two_processes_train_as_one(text_file, tmp_path):
    """Two real processes under torchrun, with gloo."""

    def losses(name, launcher):
        command = [
            sys.executable,
            *launcher,
            "-m",
            "reference.train",
            *FLAGS,
            "--text",
            text_file,
            "--out",
            tmp_path / name,
        ]
        subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, timeout=300)
        from safetensors import safe_open

        with safe_open(tmp_path / name / "training.safetensors", "pt") as file:
            return json.loads(file.metadata()["record"])["train"]

    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    assert losses("two", several) == pytest.approx(losses("one", []), abs=1e-4)


@pytest.mark.slow
def test_a_small_gpt_reaches_its_validation_loss_and_writes_text(tmp_path, monkeypatch, capsys):
    """The default plan: five minutes of CPU on one thread."""
    monkeypatch.setattr(generate, "DEFAULT_FOLDER", tmp_path)
    train.main(["--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert float(printed.split("validation loss ")[1].split()[0]) < 4.5  # nats per token of 2,048; ln 2048 is 7.62
    assert float(printed.split(" bits per byte")[0].split()[-1]) < 1.85
    words = []
    for seed in range(5):
        generate.main(["The", "--n-new", "100", "--seed", str(seed)])
        words += capsys.readouterr().out.split()
    known = set(text_of_python().split())
    assert sum(word in known for word in words) > 0.75 * len(words)
