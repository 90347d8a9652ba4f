"""From a job's texts to token ids: one text at fault does not fail its neighbours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from shared.embedding_cache import CachedVector, EmbeddingInput
from shared.messages import FOREIGN_IDS, FailedText
from worker.packed_batch import TokenIds


class Tokenizer(Protocol):
    """The encoder's first half."""

    @property
    def max_tokens(self) -> int:
        """Longest text in tokens."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """Token ids are below it."""
        ...

    def tokenize_and_count(self, texts: Sequence[str]) -> tuple[list[TokenIds], list[int]]:
        """Token ids of each text, truncated to the model's limit, and how many it has without truncation."""
        ...


@dataclass(slots=True)
class TokenizedTexts:
    """Token ids by content hash, what could not be tokenized, and the lengths of what was truncated."""

    token_ids: dict[str, TokenIds] = field(default_factory=dict)
    failed: list[FailedText] = field(default_factory=list)
    _full_lengths: dict[str, int] = field(default_factory=dict)

    def add(self, key: str, token_ids: TokenIds, full_length: int) -> None:
        """Take in one text that has `full_length` tokens without truncation."""
        self.token_ids[key] = token_ids
        if full_length > len(token_ids):
            self._full_lengths[key] = full_length

    def with_full_lengths(self, results: Mapping[str, CachedVector | FailedText]) -> dict[str, CachedVector]:
        """The vectors among the model's results, as they are to be cached."""
        return {
            key: replace(result, tokens=self._full_lengths.get(key, result.tokens))
            for key, result in results.items()
            if isinstance(result, CachedVector)
        }


def tokenize_inputs(inputs: Mapping[str, EmbeddingInput], tokenizer: Tokenizer) -> TokenizedTexts:
    """Token ids of texts, in one call to the tokenizer, and of what comes as token ids already."""
    tokenized = TokenizedTexts()
    texts = {key: given for key, given in inputs.items() if isinstance(given, str)}
    for key, given in inputs.items():
        if not isinstance(given, str):
            _take_token_ids(key, given, tokenizer, tokenized)
    try:
        _tokenize(texts, tokenizer, tokenized)
    except Exception:  # noqa: BLE001 - one text at fault must not fail its neighbours
        _tokenize_one_by_one(texts, tokenizer, tokenized)
    return tokenized


def _tokenize(texts: Mapping[str, str], tokenizer: Tokenizer, tokenized: TokenizedTexts) -> None:
    if texts:
        for key, token_ids, length in zip(texts, *tokenizer.tokenize_and_count(list(texts.values())), strict=True):
            tokenized.add(key, token_ids, length)


def _tokenize_one_by_one(texts: Mapping[str, str], tokenizer: Tokenizer, tokenized: TokenizedTexts) -> None:
    for key, text in texts.items():
        try:
            _tokenize({key: text}, tokenizer, tokenized)
        except Exception as error:  # noqa: BLE001 - see above
            message = f"the tokenizer failed on this text ({type(error).__name__})"
            tokenized.failed.append(FailedText(key, "tokenizer_error", message))


def _take_token_ids(key: str, given: Sequence[int], tokenizer: Tokenizer, tokenized: TokenizedTexts) -> None:
    token_ids = np.array(given, np.int32)
    foreign = token_ids[(token_ids < 0) | (token_ids >= tokenizer.vocabulary_size)]
    if len(foreign):
        message = (
            f"token id {foreign[0]} is outside this model's vocabulary of {tokenizer.vocabulary_size}: send texts, or "
            "ids of this model's own tokenizer (langchain's OpenAIEmbeddings: check_embedding_ctx_length=False)"
        )
        tokenized.failed.append(FailedText(key, FOREIGN_IDS, message))
        return
    tokenized.add(key, token_ids[: tokenizer.max_tokens], len(token_ids))
