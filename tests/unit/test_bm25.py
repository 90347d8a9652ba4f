"""Our BM25, which ranks texts that are in no index too, against bm25s."""

from pathlib import Path

import bm25s
import numpy as np

from api.lexical.bm25 import LENGTH_SHARE, SATURATION
from api.lexical.symbols import statement_symbols
from api.lexical.term_index import TermIndex
from api.lexical.term_index_writer import write_term_index
from shared.corpus import read_corpus
from shared.demo import demo_corpus_path

GOAL = "a b : Nat\n⊢ Eq (HAdd.hAdd (Nat.succ a) b) (HMul.hMul b a)"


def test_scores_are_those_of_bm25s(tmp_path: Path) -> None:
    corpus = read_corpus(demo_corpus_path())
    write_term_index(tmp_path, corpus)
    index = TermIndex.open(tmp_path)
    texts = index.read_texts([statement_symbols(row.name, row.binders, row.result_type) for row in corpus.premises])
    documents = [np.repeat(text.counted, text.repeats.astype(int)).tolist() for text in texts]
    known = sorted({term for document in documents for term in document})
    reference = bm25s.BM25(method="lucene", k1=SATURATION, b=LENGTH_SHARE)
    place = {term: number for number, term in enumerate(known)}
    ids = [[place[term] for term in document] for document in documents]
    reference.index((ids, {str(term): number for term, number in place.items()}), show_progress=False)
    [goal] = index.read_texts([statement_symbols("", "", GOAL)])
    wanted = [place[term] for term in goal.counted.tolist() if term in place]
    expected = reference.get_scores_from_ids(wanted)
    np.testing.assert_allclose(index.score_rows(goal.counted), expected, rtol=1e-4, atol=1e-5)
