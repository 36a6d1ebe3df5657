"""Continue a text: `python -m reference.generate "Once upon a time" --model gpt2` (chapter 20)."""

import argparse
from collections.abc import Iterator
from itertools import takewhile

import torch

from reference.batched_generation import sample_tokens
from reference.generation import cached_forward
from reference.model import GPT
from reference.sampling import process_logits, sample
from reference.shapes import expect
from reference.tokenizer import Tokenizer
from reference.train import DEFAULT_FOLDER
from reference.weights import find_checkpoint


def stream_text(
    model: GPT, tokenizer: Tokenizer, prompt: str, n_new: int, generator: torch.Generator, **settings: float | None
) -> Iterator[str]:
    """The text after the prompt, piece by piece, never half a character; stops early at the end-of-text token.
    `settings` are those of `process_logits`. Raises ValueError if the prompt is empty, or past the context."""
    tokens = torch.tensor([tokenizer.encode(prompt)], dtype=torch.long)
    n_prompt, n_ctx = tokens.shape[1], model.config.n_ctx
    expect(n_prompt, "a prompt of at least one token", "an empty text")
    if n_prompt + n_new - 1 > n_ctx:
        raise ValueError(f"got a prompt of {n_prompt} tokens and {n_new} to generate, the context is {n_ctx}")

    def choose(logits: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        return sample(process_logits(logits, seen, **settings), generator)  # type: ignore[arg-type]

    chosen = (int(row) for row in sample_tokens(cached_forward(model, batch=1), tokens, n_new, choose))
    yield from tokenizer.stream(takewhile(lambda token: token != tokenizer.end, chosen))


def main(arguments: list[str] | None = None) -> None:
    """Print a continuation as it comes; exit with a message if there is no model."""
    parser = argparse.ArgumentParser(prog="python -m reference.generate", description="Continue a text.")
    parser.add_argument("prompt")
    parser.add_argument("--model", help="a name of the hub (gpt2), or a folder; default: what reference.train made")
    parser.add_argument("--n-new", type=int, default=100, metavar="TOKENS", help="how many tokens (%(default)s)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 is greedy (%(default)s)")
    parser.add_argument("--top-k", type=int)
    parser.add_argument("--top-p", type=float, default=0.95, help="(%(default)s)")
    parser.add_argument("--min-p", type=float)
    parser.add_argument("--penalty", type=float, default=1.0, help="above 1: repeat less (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    given = vars(parser.parse_args(arguments))
    prompt, name, n_new, seed = (given.pop(key) for key in ("prompt", "model", "n_new", "seed"))
    if name is None and not (DEFAULT_FOLDER / "config.json").exists():
        parser.exit(1, "There is no model yet. With a network: --model gpt2. Without: `python -m reference.train`.\n")
    try:
        folder = find_checkpoint(name or DEFAULT_FOLDER)
        model, tokenizer = GPT.from_pretrained(folder, torch.float32), Tokenizer.load(folder)
        print(prompt, end="", flush=True)
        for piece in stream_text(model, tokenizer, prompt, n_new, torch.Generator().manual_seed(seed), **given):
            print(piece, end="", flush=True)
        print()
    except (OSError, ImportError, ValueError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
