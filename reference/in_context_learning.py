"""Learning from the prompt, with the weights as they are (chapter 18)."""

from collections.abc import Sequence

from reference.shapes import Float, Int, Tensor, expect


def few_shot_prompt(instruction: str, examples: Sequence[tuple[str, str]], query: str) -> str:
    """A prompt in the form "Input: ...\\nOutput: ...", blocks parted by an empty line; it ends where the answer begins.
    No example is zero-shot, one one-shot; an empty instruction is left out (Brown et al. 2020, 2005.14165, 2.1)."""
    blocks = [instruction] if instruction else []
    blocks += [f"Input: {source}\nOutput: {target}" for source, target in examples]
    return "\n\n".join([*blocks, f"Input: {query}\nOutput:"])


def induction_score(
    weights: Float[Tensor, "head position position"], tokens: Int[Tensor, " position"]
) -> Float[Tensor, " head"]:
    """How much each head looks at what followed earlier occurrences of the present token: [A][B] ... [A] -> [B].
    The attention on all those positions, averaged over the positions whose token occurred before. Raises ValueError if
    none did. Source: Olsson et al. 2022 (2209.11895), section on prefix matching."""
    same = tokens[:, None] == tokens  # (query, key)
    followed = same.tril(diagonal=-1).roll(1, dims=1)  # the last column, rolled to the front, is empty
    repeated = followed.any(dim=1)
    expect(repeated.any(), "a token that occurs twice", "none: there is nothing to look back at")
    return (weights * followed).sum(dim=-1)[:, repeated].mean(dim=-1)


def in_context_gain(losses: Float[Tensor, "text position"], early: int = 50, late: int = 500) -> Float[Tensor, ""]:
    """How many nats the loss at token `early` lies above that at token `late`, counted from 1, on average over texts.
    Raises ValueError unless 1 <= early < late <= positions. Source: Olsson et al. 2022, where its sign is reversed."""
    expect(1 <= early < late <= losses.shape[1], f"1 <= early < late <= {losses.shape[1]}", early, late)
    return (losses[:, early - 1] - losses[:, late - 1]).mean()
