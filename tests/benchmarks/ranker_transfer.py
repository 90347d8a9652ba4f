"""How good the learned ranking is on a corpus that it was not trained on.

    python -m tests.benchmarks.ranker_transfer EXAMPLES DEVELOPMENT_SET CORPUS EVALUATION VECTORS

EXAMPLES is what `train_ranker --examples` has kept of DEVELOPMENT_SET.  The ranking is trained on them without the
modules of EVALUATION, and knows no uses but those by the rest of DEVELOPMENT_SET.  CORPUS is an unpacked folder,
VECTORS its .npy.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from api.evaluation.evaluation_set import EvaluationSet
from tests.benchmarks.ranker_examples import Examples
from tests.benchmarks.train_ranker import fit, make_examples, outputs_of, report_baselines, report_scenes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for argument in ("examples", "development_set", "corpus", "evaluation", "vectors"):
        parser.add_argument(argument, type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    learned = Examples.load(options.examples)
    evaluation = EvaluationSet.read(options.evaluation)
    modules = {query.module for query in evaluation.queries}
    others = [query for query in EvaluationSet.read(options.development_set).queries if query.module not in modules]
    uses = Counter(name for query in others for name in query.relevant)
    examples = make_examples(options.corpus, evaluation, options.vectors, known_uses=uses)
    ranker = fit(learned, ~np.isin(learned.module, sorted(modules)))
    report_baselines(examples)
    report_scenes(examples, "hybrid", outputs_of(ranker, examples, np.arange(len(examples.query_of))))


if __name__ == "__main__":
    main()
