"""Writes small sentence-transformers folders with seeded random weights, in the shapes that the worker runs."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.trainers import WordPieceTrainer

LINES = [
    "theorem Nat.add_comm (a b : Nat) : Eq (HAdd.hAdd a b) (HAdd.hAdd b a)",
    "instance Set.instInter {α : Type u} : Inter (Set α)",
    "∀ (x : α), Membership.mem s x → Not (Membership.mem t x)",
    "/-- A list is empty iff its length is zero. -/",
]
SHAPES = ("bert", "roberta", "xlm-roberta", "distilbert", "mpnet")
OLD_STYLE_FLAGS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
SIZE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
}


def write_model_folder(
    folder: Path, shape: str, *, pooling: str = "mean", normalize: bool = True, old_style: bool = False
) -> Path:
    """A folder that both SentenceTransformer and the worker load; returns it."""
    folder.mkdir(parents=True)
    tokenizer = _write_tokenizer(folder, shape)
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(_config(shape, len(tokenizer)))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:  # larger than at the start of training, so that texts differ
                parameter.normal_(0, 0.3)
    model.save_pretrained(folder)
    _write_modules(folder, pooling, normalize=normalize, old_style=old_style)
    return folder


def _write_modules(folder: Path, pooling: str, *, normalize: bool, old_style: bool) -> None:
    kinds = ["Transformer", "Pooling", "Normalize"][: 3 if normalize else 2]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(zip(kinds, paths, strict=False))
    ]
    write_json(folder / "modules.json", modules)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 48, "do_lower_case": False})
    write_pooling(folder, pooling, old_style=old_style)
    (folder / "2_Normalize").mkdir(exist_ok=True)


def write_pooling(folder: Path, *poolings: str, old_style: bool = False) -> None:
    """Write the pooling's configuration: flags as before sentence-transformers 6, or the name as since."""
    if old_style:
        flags = {flag: mode in poolings for mode, flag in OLD_STYLE_FLAGS.items()}
        config = {"word_embedding_dimension": SIZE["hidden_size"], **flags}
    else:
        named = poolings[0] if len(poolings) == 1 else list(poolings)
        config = {"embedding_dimension": SIZE["hidden_size"], "pooling_mode": named, "include_prompt": True}
    write_json(folder / "1_Pooling" / "config.json", config)


def write_json(path: Path, content: object) -> None:
    """Write a JSON file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _config(shape: str, vocabulary: int) -> transformers.PretrainedConfig:
    if shape == "bert":
        return transformers.BertConfig(vocab_size=vocabulary, **SIZE)
    if shape in ("roberta", "xlm-roberta"):
        kind = transformers.RobertaConfig if shape == "roberta" else transformers.XLMRobertaConfig
        return kind(vocab_size=vocabulary, type_vocab_size=1, **SIZE)
    if shape == "mpnet":
        return transformers.MPNetConfig(vocab_size=vocabulary, **SIZE)
    return transformers.DistilBertConfig(
        vocab_size=vocabulary, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=66
    )


def _write_tokenizer(folder: Path, shape: str) -> transformers.PreTrainedTokenizerFast:
    if shape in ("roberta", "xlm-roberta"):
        return _roberta_tokenizer(folder)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if shape == "mpnet":
        special = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
    trained = Tokenizer(WordPiece(unk_token="[UNK]"))  # noqa: S106 - a token of the vocabulary
    trained.normalizer = BertNormalizer(lowercase=True)
    trained.pre_tokenizer = BertPreTokenizer()
    trained.train_from_iterator(LINES, WordPieceTrainer(vocab_size=300, special_tokens=special))
    vocabulary = sorted(trained.get_vocab(), key=lambda token: trained.get_vocab()[token])
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    kinds = {"bert": "BertTokenizerFast", "distilbert": "DistilBertTokenizerFast", "mpnet": "MPNetTokenizerFast"}
    kind = getattr(transformers, kinds[shape], None) or getattr(transformers, kinds[shape].removesuffix("Fast"))
    tokenizer = kind(vocab=dict(zip(vocabulary, range(len(vocabulary)), strict=True)))
    tokenizer.save_pretrained(folder)
    return tokenizer


def _roberta_tokenizer(folder: Path) -> transformers.PreTrainedTokenizerFast:
    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(LINES, vocab_size=400, special_tokens=special)
    trained.save_model(str(folder))
    tokenizer = transformers.RobertaTokenizerFast.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer
