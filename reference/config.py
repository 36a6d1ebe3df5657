"""The shape of a GPT, and the published sizes of GPT-2 and GPT-3 (chapter 5)."""

from dataclasses import dataclass

from reference.shapes import expect


@dataclass(frozen=True)
class GPTConfig:
    """What determines the shape of every parameter. Raises ValueError unless all are >= 1 and n_head divides d_model.
    >>> GPTConfig(n_layer=12, n_head=12, d_model=768, n_ctx=1024).d_head
    64"""

    n_layer: int
    n_head: int
    d_model: int
    n_ctx: int  # how many positions the model can tell apart: its context
    vocab_size: int = 50257  # 256 bytes, 50,000 merges and <|endoftext|>

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            expect(isinstance(value, int) and value >= 1, f"{name} to be an integer of at least 1", f"{value!r}")
        n_head, d_model = self.n_head, self.d_model
        expect(d_model % n_head == 0, "n_head to divide d_model", f"n_head {n_head} and d_model {d_model}")

    @property
    def d_head(self) -> int:
        """How many channels each head has."""
        return self.d_model // self.n_head


GPT2 = {
    "gpt2": GPTConfig(n_layer=12, n_head=12, d_model=768, n_ctx=1024),
    "gpt2-medium": GPTConfig(n_layer=24, n_head=16, d_model=1024, n_ctx=1024),
    "gpt2-large": GPTConfig(n_layer=36, n_head=20, d_model=1280, n_ctx=1024),
    "gpt2-xl": GPTConfig(n_layer=48, n_head=25, d_model=1600, n_ctx=1024),
}

GPT2_PAPER_MILLIONS = {"gpt2": 117, "gpt2-medium": 345, "gpt2-large": 762, "gpt2-xl": 1542}
"""Millions of parameters in Table 2 of the GPT-2 report; its authors have since said that these counts are wrong."""

GPT3 = {
    "gpt3-small": GPTConfig(n_layer=12, n_head=12, d_model=768, n_ctx=2048),
    "gpt3-medium": GPTConfig(n_layer=24, n_head=16, d_model=1024, n_ctx=2048),
    "gpt3-large": GPTConfig(n_layer=24, n_head=16, d_model=1536, n_ctx=2048),
    "gpt3-xl": GPTConfig(n_layer=24, n_head=16, d_model=2048, n_ctx=2048),
    "gpt3-2.7b": GPTConfig(n_layer=32, n_head=32, d_model=2560, n_ctx=2048),
    "gpt3-6.7b": GPTConfig(n_layer=32, n_head=32, d_model=4096, n_ctx=2048),
    "gpt3-13b": GPTConfig(n_layer=40, n_head=40, d_model=5120, n_ctx=2048),
    "gpt3-175b": GPTConfig(n_layer=96, n_head=96, d_model=12288, n_ctx=2048),
}


@dataclass(frozen=True)
class PrintedRow:
    """One row of Table 2.1 of the GPT-3 paper (Brown et al. 2020, 2005.14165), as printed, and of Table D.1."""

    n_params: str
    n_layer: int
    d_model: int
    n_head: int
    d_head: int
    batch_tokens: float
    learning_rate: float
    millions: int  # of parameters in Table D.1, rounded to tens in the larger models


GPT3_PRINTED = {
    "gpt3-small": PrintedRow("125M", 12, 768, 12, 64, 0.5e6, 6.0e-4, 125),
    "gpt3-medium": PrintedRow("350M", 24, 1024, 16, 64, 0.5e6, 3.0e-4, 356),
    "gpt3-large": PrintedRow("760M", 24, 1536, 16, 96, 0.5e6, 2.5e-4, 760),
    "gpt3-xl": PrintedRow("1.3B", 24, 2048, 24, 128, 1e6, 2.0e-4, 1320),
    "gpt3-2.7b": PrintedRow("2.7B", 32, 2560, 32, 80, 1e6, 1.6e-4, 2650),
    "gpt3-6.7b": PrintedRow("6.7B", 32, 4096, 32, 128, 2e6, 1.2e-4, 6660),
    "gpt3-13b": PrintedRow("13.0B", 40, 5140, 40, 128, 2e6, 1.0e-4, 12850),
    "gpt3-175b": PrintedRow("175.0B", 96, 12288, 96, 128, 3.2e6, 0.6e-4, 174600),
}
"""Two rows contradict themselves, for n_head * d_head is not d_model: XL has 24 * 128 = 3072, not 2048, and 13B has
40 * 128 = 5120, not 5140. The paper's own counts in Table D.1 settle both: 1320 million is d_model 2048 with attention
as wide, so 16 heads of 128, and 12850 million is d_model 5120. GPT3 has these."""


def count_parameters(config: GPTConfig) -> int:
    """How many numbers are learned. The output head is the token embedding once more, and adds none.
    >>> count_parameters(GPT2["gpt2"])
    124439808"""
    embeddings = (config.vocab_size + config.n_ctx) * config.d_model
    return embeddings + config.n_layer * parameters_per_block(config.d_model) + 2 * config.d_model  # the final norm's 2


def parameters_per_block(d_model: int) -> int:
    """Whatever the number of heads: attention has 4 d_model^2 + 4 d_model, the MLP 8 and 5, the layer norms 0 and 4.
    >>> parameters_per_block(768)
    7087872"""
    return 12 * d_model**2 + 13 * d_model
