"""Small GPTs of several sizes, trained for a scaling law: `make sweep` makes reference/sweep.json."""

import json
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from gptdojo.course import find_course

COURSE = find_course(Path(__file__).parent)
COURSE.importable()

from reference.config import GPTConfig, count_parameters
from reference.model import GPT
from reference.next_token import cross_entropy, shift_targets
from reference.shapes import Bool, Int, Tensor
from reference.training import adamw_step, clip_grad_norm, param_groups, warmup_cosine_lr

SHIPPED = COURSE.root / "reference" / "sweep.json"
WIDTHS, TOKENS = (8, 16, 32, 48, 64, 96), (1 << 17, 1 << 18, 1 << 19, 1 << 20)
N_CTX, BATCH = 64, 32
LENGTHS = (1, 2, 4, 8, 16, 32)  # of answers in bytes


@dataclass(frozen=True)
class Run:
    """One model that was trained, and what it does on text that it has not seen: the last tenth of Python's."""

    d_model: int
    n_parameters: int
    n_non_embedding: int  # without the two embedding tables, of which one is also the head
    n_tokens: int  # bytes seen, some of them several times
    loss: float  # nats per byte
    exact_match: dict[int, float]  # length of an answer to the share of answers whose every byte was the likeliest


def train(d_model: int, n_tokens: int, text: Int[Tensor, " byte"], seed: int = 0) -> Run:
    """Train a GPT of two layers on random windows of the text's first nine tenths, with a schedule of this length."""
    torch.manual_seed(seed)
    config = GPTConfig(n_layer=2, n_head=max(1, d_model // 16), d_model=d_model, n_ctx=N_CTX, vocab_size=256)
    model, n_step = GPT(config), n_tokens // (N_CTX * BATCH)
    params = model.params
    groups = dict(zip((0.1, 0.0), param_groups(params), strict=True))  # weight decay: names
    state = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in params.items()}
    max_lr = min(1e-2, max(2e-3, 0.2 / d_model))  # narrow models bear larger steps
    seen = text[: len(text) * 9 // 10]
    for step in range(n_step):
        starts = torch.randint(len(seen) - N_CTX, (BATCH,))
        inputs, targets = shift_targets(torch.stack([seen[start : start + N_CTX + 1] for start in starts]))
        found = torch.autograd.grad(cross_entropy(model(inputs), targets), list(params.values()))
        gradients, _ = clip_grad_norm(dict(zip(params, found, strict=True)), 1.0)
        lr = warmup_cosine_lr(step, n_step // 10, n_step, max_lr, max_lr / 10)
        with torch.no_grad():
            for decay, names in groups.items():
                for name in names:
                    moments = (gradients[name], state[name], step + 1, lr)
                    updated, state[name] = adamw_step(params[name], *moments, weight_decay=decay)
                    params[name].copy_(updated)
    loss, is_right = validate(model, text[len(seen) :])
    match = {n: is_right.unfold(1, n, 1).all(dim=-1).double().mean().item() for n in LENGTHS}
    n_parameters = count_parameters(config)
    return Run(d_model, n_parameters, n_parameters - (256 + N_CTX) * d_model, n_step * N_CTX * BATCH, loss, match)


@torch.no_grad()
def validate(model: GPT, text: Int[Tensor, " byte"]) -> tuple[float, Bool[Tensor, "window position"]]:
    """The loss in nats per byte, and where the likeliest byte was the right one, in the second half of each window.
    A greedy continuation is exactly right where all its bytes are: up to a mistake its context is the true one."""
    windows = text.unfold(0, N_CTX + 1, N_CTX // 2)
    inputs, targets = shift_targets(windows)
    parts = [model(part) for part in inputs.split(256)]
    logits = torch.cat(parts)[:, N_CTX // 2 :]
    targets = targets[:, N_CTX // 2 :]
    return cross_entropy(logits, targets).item(), logits.argmax(dim=-1) == targets


def prose_of_python() -> Int[Tensor, " byte"]:
    """The bytes of Python's own documentation, without indentation, line breaks and lines drawn with characters:
    runs of equal bytes are answers that every model gets right."""
    from pydoc_data.topics import topics

    text = re.sub(r"([^\w\s])\1{2,}", " ", "\n".join(topics.values()))
    return torch.tensor(list(" ".join(text.split()).encode()))


def main(path: Path = SHIPPED) -> None:
    """Train all widths on the most tokens, and one of them on fewer; some minutes on one thread."""
    torch.set_num_threads(1)
    text = prose_of_python()
    plan = [(width, TOKENS[-1]) for width in WIDTHS] + [(WIDTHS[-2], n) for n in TOKENS[:-1]]
    runs = []
    for width, n_tokens in plan:
        began = time.process_time()
        runs.append(train(width, n_tokens, text))
        spent = f"{time.process_time() - began:.0f} s of CPU"
        print(f"d_model {width:2}, {n_tokens:9,} tokens: {runs[-1].loss:.3f} nats per byte, {spent}", flush=True)
    rows = [asdict(run) for run in sorted(runs, key=lambda run: (run.n_parameters, run.n_tokens))]
    path.write_text(json.dumps({"torch": torch.__version__, "bytes": len(text), "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
