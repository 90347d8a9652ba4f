"""`/v1/embeddings` beside infinity-emb: the same model, texts, cores and clients, float32, taking turns in one run."""

import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from shared.artifacts import model_folder
from shared.settings import Settings
from tests.benchmarks.big_model import declaration_texts, some_texts
from tests.benchmarks.comparison import Comparison
from tests.benchmarks.embedding_load import Answered, Load, ask_for_embeddings
from tests.benchmarks.infinity_server import INFINITY, SERVED_NAME, install_infinity, running_infinity
from tests.integration.conftest import make_server

MAX_TOKENS = 256
"""Of the model; infinity-emb cuts longer texts, this server refuses them, so there are none."""
ROUNDS = 3
UNIQUE: Mapping[Load, int] = {
    Load(1, 32, "base64"): 64,
    Load(8, 32, "base64"): 256,
    Load(32, 32, "base64"): 1024,
    Load(1, 1, "float"): 32,
    Load(8, 1, "float"): 96,
    Load(32, 1, "float"): 192,
}
"""How many texts each is measured with: some seconds of work, and a request or more for each client."""
REPEATED = (Load(1, 32, "base64"), Load(8, 32, "base64"), Load(32, 32, "base64"), Load(32, 1, "float"))
REPEATED_TEXTS, REPETITIONS, UNCACHED_REPETITIONS = 128, 16, 1
WARM_UP_TEXTS = 64
LARGEST_DIFFERENCE = 1e-5
SECTION = "Embeddings API"
ALTERNATIVE = INFINITY.partition("[")[0]


@dataclass
class Texts:
    """Texts that nobody has seen before, each time."""

    declarations: Sequence[str]
    tokenizer: Tokenizer
    _seed: Iterator[int] = field(default_factory=lambda: count(1000))

    def fresh(self, number: int) -> list[str]:
        """Random declarations, each with an ending of its own; none is too long for the model."""
        seed = next(self._seed)
        drawn = [f"{text} -- {seed}" for text in some_texts(self.declarations, 2 * number, seed)]
        return [text for text, tokens in zip(drawn, self.lengths(drawn), strict=True) if tokens <= MAX_TOKENS][:number]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each, special ones included."""
        return [len(encoding.ids) for encoding in self.tokenizer.encode_batch(texts)]


@dataclass
class Arm:
    """One server, and what it did in each round."""

    url: str
    seconds: list[float] = field(default_factory=list)

    def answer(self, texts: Sequence[str], load: Load) -> Answered:
        """Ask for all texts; the seconds are kept for each text."""
        answered = ask_for_embeddings(self.url, SERVED_NAME, texts, load)
        self.seconds.append(answered.seconds / len(texts))
        return answered

    def texts_per_second(self) -> float:
        """The median of the rounds since the last call."""
        rate = 1 / statistics.median(self.seconds)
        self.seconds.clear()
        return rate


def measure_infinity(corpus: Path | None, folder: Path) -> Iterator[Comparison]:
    """`corpus` is an unpacked corpus folder; the demo corpus without one.  Some six minutes, one of them to install."""
    model = model_folder(Settings(model_id="demo"))
    texts = Texts(declaration_texts(corpus), untruncated(model))
    program = install_infinity(folder / "venv")
    with ExitStack() as stack:
        # As many threads as infinity-emb is given: on a busy machine a start may find fewer to be faster.
        ours = Arm(make_server(stack, folder, replicas=1, WORKER_THREADS=str(os.cpu_count())).url)
        with running_infinity(program, model, folder / "infinity") as url:
            theirs = Arm(url)
            warm_up(ours, theirs, texts)
            yield from unique_texts(ours, theirs, texts)
            yield from repeated_texts(ours, theirs, texts, UNCACHED_REPETITIONS, REPEATED[1:2], ALTERNATIVE)
        with running_infinity(program, model, folder / "infinity-cache", cache=True) as url:
            theirs = Arm(url)
            yield from repeated_texts(ours, theirs, texts, REPETITIONS, REPEATED, f"{ALTERNATIVE}, its cache on")


def untruncated(model: Path) -> Tokenizer:
    """The model's tokenizer, which counts whole texts."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def warm_up(ours: Arm, theirs: Arm, texts: Texts) -> None:
    """Requests that do not count."""
    for arm in (ours, theirs):
        arm.answer(texts.fresh(WARM_UP_TEXTS), Load(4, 8, "base64"))
        arm.texts_per_second()


def unique_texts(ours: Arm, theirs: Arm, texts: Texts) -> Iterator[Comparison]:
    """Texts that no cache has; both servers get the same ones, and change who is first."""
    largest = 0.0
    for load, number in UNIQUE.items():
        tokens_a_text: list[float] = []
        for turn in range(ROUNDS):
            asked = texts.fresh(number)
            lengths = texts.lengths(asked)
            tokens_a_text.append(statistics.mean(lengths))
            answered = in_turns((ours, theirs), asked, load, turn)
            assert answered[0].prompt_tokens() == sum(lengths), "the server counts other tokens than its tokenizer"
            largest = max(largest, largest_difference(answered))
        tokens = statistics.mean(tokens_a_text)
        our_rate, their_rate = ours.texts_per_second(), theirs.texts_per_second()
        yield compared(f"new texts, {load}", our_rate, their_rate, ALTERNATIVE, target=1.0)
        yield Comparison(
            section=SECTION, what="the same in tokens", ours=our_rate * tokens, unit="tokens/s",
            theirs=their_rate * tokens, alternative=ALTERNATIVE,
        )  # fmt: skip
    yield Comparison(
        section=SECTION, what="1 - cosine of a text's vectors from both servers, largest", ours=largest, unit="",
        target=LARGEST_DIFFERENCE,
    )  # fmt: skip


def in_turns(arms: tuple[Arm, Arm], asked: Sequence[str], load: Load, turn: int) -> tuple[Answered, Answered]:
    """Both arms, one after the other; who is first changes with the turn."""
    if turn % 2 == 0:
        return arms[0].answer(asked, load), arms[1].answer(asked, load)
    last = arms[1].answer(asked, load)
    return arms[0].answer(asked, load), last


def largest_difference(answered: tuple[Answered, Answered]) -> float:
    """1 - cosine of the two vectors of a text, where it is largest."""
    one, other = (each.vectors() for each in answered)
    assert one.shape == other.shape
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float((1 - (one * other).sum(axis=1, dtype=np.float64) / norms).max())


def repeated_texts(
    ours: Arm, theirs: Arm, texts: Texts, repetitions: int, loads: Sequence[Load], alternative: str
) -> Iterator[Comparison]:
    """The same texts again and again, once all were embedded; the other server repeats them `repetitions` times."""
    asked = texts.fresh(REPEATED_TEXTS)
    for arm in (ours, theirs):
        arm.answer(asked, Load(4, 32, "base64"))
        arm.texts_per_second()
    for load in loads:
        for _ in range(ROUNDS):
            ours.answer(asked * REPETITIONS, load)
            theirs.answer(asked * repetitions, load)
        yield compared(
            f"repeated texts, {load}", ours.texts_per_second(), theirs.texts_per_second(), alternative, target=2.0
        )


def compared(what: str, ours: float, theirs: float, alternative: str, *, target: float) -> Comparison:
    """A line of texts per second."""
    return Comparison(
        section=SECTION, what=what, ours=ours, unit="texts/s", theirs=theirs, alternative=alternative,
        ratio=ours / theirs, target=target,
    )  # fmt: skip
