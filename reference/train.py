"""Train a small GPT on text, on one process or several: `python -m reference.train --help` (chapter 20).
Alone it uses a GPU if there is one; `torchrun --nproc-per-node 2 -m reference.train` shares each batch among processes.
"""

import argparse
import json
import math
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file

from reference.config import GPTConfig
from reference.model import GPT
from reference.next_token import cross_entropy, shift_targets
from reference.parallelism import average_gradients
from reference.shapes import Int, Tensor, expect
from reference.tokenizer import Tokenizer
from reference.training import accumulate_gradients, adamw_step, clip_grad_norm, param_groups, warmup_cosine_lr

DEFAULT_FOLDER = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "reference-gpt"


@dataclass(frozen=True)
class Plan:
    """All that a training run depends on, beside the text. The batch is in sequences of n_ctx tokens.
    By default: 4.40 nats a token (1.81 bits a byte) on Python's text, in 5 minutes of CPU on one thread."""

    n_layer: int = 4
    n_head: int = 4
    d_model: int = 192
    n_ctx: int = 128
    vocab_size: int = 2048
    n_step: int = 800
    batch: int = 8
    micro_batch: int = 8
    n_warmup: int = 100
    max_lr: float = 2e-3
    min_lr: float = 2e-4
    weight_decay: float = 0.1
    max_norm: float = 1.0
    eval_every: int = 100
    seed: int = 0
    bfloat16: bool = False


class Trainer:
    """A model in training: its parameters, AdamW's state, and what the losses were.
    The last tenth of the tokens is kept for validation. Raises ValueError if there are too few."""

    def __init__(self, plan: Plan, tokens: Int[Tensor, " n"], device: str = "cpu") -> None:
        expect(len(tokens) >= 20 * plan.n_ctx, f"a text of {20 * plan.n_ctx} tokens or more", len(tokens))
        torch.manual_seed(plan.seed)
        self.plan, self.device, self.step = plan, device, 0
        self.identity = asdict(plan) | {"text": zlib.crc32(tokens.cpu().numpy().tobytes())}  # a state fits no other
        self.model = GPT(GPTConfig(plan.n_layer, plan.n_head, plan.d_model, plan.n_ctx, plan.vocab_size)).to(device)
        self.state = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in self.model.params.items()}
        self.train_tokens, self.val_tokens = tokens.to(device).split([n := len(tokens) * 9 // 10, len(tokens) - n])
        self.train_losses: list[float] = []
        self.val_losses: dict[int, float] = {}

    def batch(self, step: int) -> Int[Tensor, "batch n_ctx+1"]:
        """Random windows of the text: a function of seed and step alone, so a run can go on where it stopped."""
        generator = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + step)
        starts = torch.randint(len(self.train_tokens) - self.plan.n_ctx, (self.plan.batch,), generator=generator)
        return torch.stack([self.train_tokens[start : start + self.plan.n_ctx + 1] for start in starts])

    def loss(self, windows: Int[Tensor, "batch n_ctx+1"]) -> Tensor:
        """Mean cross-entropy, in nats per token."""
        inputs, targets = shift_targets(windows)
        with torch.autocast(self.device.partition(":")[0], torch.bfloat16, enabled=self.plan.bfloat16):
            logits = self.model(inputs)
        return cross_entropy(logits.float(), targets)

    @torch.no_grad()
    def validate(self) -> float:
        """The loss on all validation tokens, in windows side by side."""
        n = (len(self.val_tokens) - 1) // self.plan.n_ctx
        windows = torch.stack([self.val_tokens[i * self.plan.n_ctx :][: self.plan.n_ctx + 1] for i in range(n)])
        return sum(self.loss(part).item() * len(part) for part in windows.split(self.plan.micro_batch)) / n

    def gradients(self) -> tuple[dict[str, Tensor], float]:
        """Gradients and loss of this step's batch: this process's share of it, averaged over all processes."""
        params, n_token, loss = self.model.params, 0, 0.0
        gradients = {name: torch.zeros_like(p) for name, p in params.items()}
        rank, n_process = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        for windows in self.batch(self.step)[rank::n_process].split(self.plan.micro_batch):
            micro_loss, n_micro = self.loss(windows), len(windows) * self.plan.n_ctx
            micro = dict(zip(params, torch.autograd.grad(micro_loss, list(params.values())), strict=True))
            gradients = accumulate_gradients([gradients, micro], [n_token, n_micro])
            loss += micro_loss.item() * n_micro
            n_token += n_micro
        if n_process > 1:
            total = torch.tensor([loss, n_token], device=self.device)
            gradients = average_gradients(gradients, total[1], _all_reduce)
            loss, n_token = _all_reduce(total).tolist()
        return gradients, loss / n_token

    @torch.no_grad()
    def train_step(self) -> None:
        """One update of the parameters."""
        plan, params = self.plan, self.model.params
        with torch.enable_grad():
            gradients, loss = self.gradients()
        gradients, _ = clip_grad_norm(gradients, plan.max_norm)
        lr = warmup_cosine_lr(self.step, plan.n_warmup, plan.n_step, plan.max_lr, plan.min_lr)
        self.step += 1
        self.train_losses.append(loss)
        for names, decay in zip(param_groups(params), (plan.weight_decay, 0.0), strict=True):
            for name in names:
                state = (gradients[name], self.state[name], self.step, lr)
                updated, self.state[name] = adamw_step(params[name], *state, weight_decay=decay)
                params[name].copy_(updated)

    def run(self) -> Iterator[int]:
        """Train to the end of the plan, validating now and then; yields the number of steps done after each."""
        while self.step < self.plan.n_step:
            self.train_step()
            if self.step % self.plan.eval_every == 0 or self.step == self.plan.n_step:
                self.val_losses[self.step] = self.validate()
            yield self.step

    def save(self, path: Path) -> None:
        """Write all that `load` needs into one file, which is never left half written."""
        tensors = dict(self.model.params)
        for name, (mean, square) in self.state.items():
            tensors |= {f"mean/{name}": mean, f"square/{name}": square}
        record = {"of": self.identity, "train": self.train_losses, "val": list(self.val_losses.items())}
        save_file(tensors, partial := path.with_suffix(".partial"), metadata={"record": json.dumps(record)})
        os.replace(partial, path)

    def load(self, path: Path) -> None:
        """Go on from a file of `save` as if there had been no break. Raises ValueError if plan or text differ."""
        with safe_open(path, "pt", device=self.device) as file:
            record = json.loads(file.metadata()["record"])
            if differ := sorted(key for key, value in self.identity.items() if record["of"].get(key) != value):
                raise ValueError(f"{path} is of another plan ({', '.join(differ)}): give --fresh to start anew")
            self.model.load_state_dict({name: file.get_tensor(name) for name in self.state})
            for name in self.state:
                self.state[name] = (file.get_tensor(f"mean/{name}"), file.get_tensor(f"square/{name}"))
        self.train_losses, self.val_losses = record["train"], dict(record["val"])
        self.step = len(self.train_losses)


def _all_reduce(tensor: Tensor) -> Tensor:
    dist.all_reduce(total := tensor.clone())
    return total


def text_of_python() -> str:
    """The half megabyte of English about Python that every Python ships."""
    from pydoc_data.topics import topics

    return "\n".join(topics.values())


def shown(trainer: Trainer) -> Iterator[int]:
    """Run the trainer behind a progress bar of one line."""
    first, began, plan = trainer.step, time.monotonic(), trainer.plan
    for step in trainer.run():
        pace = (step - first) / (time.monotonic() - began)
        val = f", validation {list(trainer.val_losses.values())[-1]:.3f}" if trainer.val_losses else ""
        text = f"loss {trainer.train_losses[-1]:.3f}{val}, {pace * plan.batch * plan.n_ctx:,.0f} tokens/s"
        bar = f"{'=' * (20 * step // plan.n_step):20}"
        print(f"\r[{bar}] {step}/{plan.n_step} {text}, {(plan.n_step - step) / pace:.0f} s left ", end="", flush=True)
        yield step
    print()


def plot(trainer: Trainer, path: Path) -> None:
    """Draw both losses over the steps."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("for a plot of the losses: pip install matplotlib")
        return
    axes = (figure := Figure()).subplots()
    axes.plot(range(1, trainer.step + 1), trainer.train_losses, linewidth=0.5, label="training")
    axes.plot(list(trainer.val_losses), list(trainer.val_losses.values()), marker="o", label="validation")
    axes.set(xlabel="step", ylabel="loss (nats per token)")
    axes.legend()
    figure.savefig(path)


def main(arguments: list[str] | None = None) -> None:
    """Train, or go on training, and leave a model that `GPT.from_pretrained` and `reference.generate` load."""
    parser = argparse.ArgumentParser(prog="python -m reference.train", description="Train a small GPT on text.")
    parser.add_argument("--text", type=Path, help="a file in UTF-8 (default: the text that Python ships)")
    parser.add_argument("--out", type=Path, default=DEFAULT_FOLDER, help="folder of the model (default: %(default)s)")
    parser.add_argument("--fresh", action="store_true", help="do not go on from what the folder holds")
    for name, value in asdict(Plan()).items():
        kind = {"action": "store_true"} if value is False else {"type": type(value), "default": value, "metavar": "N"}
        parser.add_argument(f"--{name.replace('_', '-')}", **kind)
    given = vars(parser.parse_args(arguments))
    text, out, fresh = (given.pop(name) for name in ("text", "out", "fresh"))
    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    given["bfloat16"] |= device != "cpu" and torch.cuda.is_bf16_supported()  # few CPUs have units for it
    if several := int(os.environ.get("WORLD_SIZE", "1")) > 1:
        dist.init_process_group("nccl" if device != "cpu" else "gloo")
    writes = not several or dist.get_rank() == 0  # the first process writes, for all have the same model
    content = text.read_text(encoding="utf-8") if text else text_of_python()
    tokenizer = Tokenizer.train(content[: len(content) * 9 // 10], given["vocab_size"])
    given["vocab_size"] = len(tokenizer)  # a short text has fewer pairs to merge
    trainer = Trainer(Plan(**given), torch.tensor(tokenizer.encode(content)), device)
    state = out / "training.safetensors"
    if state.exists() and not fresh:
        trainer.load(state)
    if writes:
        out.mkdir(parents=True, exist_ok=True)
        tokenizer.save(out)
    for step in shown(trainer) if writes else trainer.run():
        if writes and step in trainer.val_losses:
            trainer.save(state)
            trainer.model.save_pretrained(out)
    if several:
        dist.destroy_process_group()
    if writes:
        plot(trainer, out / "losses.png")
        loss, n_byte = trainer.val_losses[trainer.step], len(tokenizer.decode(trainer.val_tokens.tolist()).encode())
        bits = loss * len(trainer.val_tokens) / n_byte / math.log(2)
        print(f"validation loss {loss:.3f} nats per token ({len(tokenizer):,} tokens), {bits:.3f} bits per byte")
        print(f"the model and losses.png are in {out}")


if __name__ == "__main__":
    main()
