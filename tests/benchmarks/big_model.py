"""A model of the production model's shape with random weights, and texts like those that it embeds.

Needs torch, transformers and tokenizers alone, so that it can be made on a GPU machine that has nothing else.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import ByteLevelBPETokenizer

from shared.demo import demo_corpus_path

LAYERS, HIDDEN, HEADS, INTERMEDIATE = 6, 768, 12, 3072
MAX_TOKENS = 512
VOCABULARY = 20_000
SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
FLOP_PER_TOKEN = 2 * LAYERS * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * INTERMEDIATE)
"""Of the linear layers; attention adds some percent."""


def declaration_texts(corpus: Path | None = None) -> list[str]:
    """The texts of a corpus folder's declarations as they are embedded; of the demo corpus without one."""
    texts = []
    for path in sorted(((corpus or demo_corpus_path()) / "Declarations").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            declaration = json.loads(line)
            shown = (
                f"{declaration['kind']} {declaration['name']} {' '.join(declaration['args'])} : {declaration['type']}"
            )
            texts.append(f"/-- {declaration['doc'].strip()} -/\n{shown}" if declaration["doc"] else shown)
    return texts


def some_texts(texts: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """A random choice; with new endings where there are not enough."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(max(count, len(texts)))[:count]
    rounds = [divmod(int(place), len(texts)) for place in order]
    return [texts[place] + f" variant {again}" * (again > 0) for again, place in rounds]


def write_big_model(folder: Path, texts: Sequence[str]) -> Path:
    """A sentence-transformers folder of 6 layers, 768 wide, RoBERTa-shaped, its tokenizer trained on `texts`."""
    folder.mkdir(parents=True)
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(texts, vocab_size=VOCABULARY, special_tokens=SPECIAL_TOKENS, show_progress=False)
    trained.save_model(str(folder))
    tokenizer = transformers.RobertaTokenizerFast.from_pretrained(folder, model_max_length=MAX_TOKENS)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=INTERMEDIATE,
        max_position_embeddings=MAX_TOKENS + 2,
        type_vocab_size=1,
    )
    transformers.RobertaModel(config).save_pretrained(folder)
    _write_modules(folder)
    return folder


def _write_modules(folder: Path) -> None:
    paths = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (kind, path) in enumerate(paths.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": MAX_TOKENS}))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "2_Normalize").mkdir()
