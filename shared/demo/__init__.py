"""A small corpus of well-known statements, to try the server without downloading anything."""

from pathlib import Path


def demo_corpus_path() -> Path:
    """The folder of the demo corpus, laid out like an unpacked production corpus."""
    return Path(__file__).parent / "corpus"


def demo_evaluation_path() -> Path:
    """Goals of theorems of the demo corpus, with the premises that their proofs use."""
    return Path(__file__).parent / "evaluation.jsonl"
