"""Trains the learned ranking of `SELECTOR=hybrid` and says, by cross-validation, how good it is.

    python -m tests.benchmarks.train_ranker CORPUS EVALUATION VECTORS [--out api/lexical/trained]

CORPUS is an unpacked corpus folder with its Imports, EVALUATION its development set, VECTORS the .npy of its premises
by the demo model.  Folds are of whole modules, and how often a premise is used is always counted without the theorems
of the query's own module, in the validation and in the training.  Each query is asked twice: from its file, and from a
project that sends what it imports from near-by modules as new premises.
"""

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import orjson
import torch
from numpy.typing import NDArray

from api.evaluation.accessible_premises import PlacedCorpus, PlacedQuery
from api.evaluation.evaluation_set import EvaluationSet
from api.lexical.features import FEATURE_GROUPS, FEATURES, Values
from api.lexical.ranker import MANIFEST_FILE, TRAINED, USES_FILE, VERSION, WEIGHTS_FILE, Ranker
from api.lexical.term_index import TermIndex
from api.lexical.term_index_writer import write_term_index
from shared.artifacts import model_folder
from shared.corpus import read_corpus
from shared.settings import Settings
from tests.benchmarks.ranker_examples import BASELINES, CUTOFFS, ExampleMaker, Examples, recall
from worker.encoder import Encoder

FOLDS = 5
HIDDEN = (64, 32)
EPOCHS = 10
QUERIES_OF_A_STEP = 32
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-3
DROPOUT = 0.1
HARD_NEGATIVES = 30
SHARE_OF_EASY_NEGATIVES = 0.15
DENSE = [FEATURES.index(name) for name in FEATURE_GROUPS["dense"]]


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """Standardised rows of queries, a last column for whether their dense features mean something."""

    inputs: torch.Tensor
    relevant: torch.Tensor
    weights: torch.Tensor
    """How many candidates each row stands for."""
    query_of: NDArray[np.int32]


def prepare(examples: Examples, chosen: NDArray[np.intp], mean: Values, scale: Values) -> torch.Tensor:
    """Standardised inputs of candidates."""
    has_dense = examples.has_dense[examples.query_of[chosen]]
    inputs = (examples.features[chosen] - mean) * scale
    inputs[:, DENSE] *= has_dense[:, np.newaxis]
    return torch.from_numpy(np.column_stack([inputs, has_dense]).astype(np.float32))


def sample(examples: Examples, queries: NDArray[np.bool_], seed: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Candidates to train on, and weights: all relevant and hard ones, and a share of the others."""
    generator = np.random.default_rng(seed)
    usable = queries[examples.query_of]
    fused = examples.features[:, FEATURES.index("fused")]
    hard = _rank_in_query(examples.query_of, fused) < HARD_NEGATIVES
    sure = examples.relevant | hard
    chosen = usable & (sure | (generator.random(len(usable)) < SHARE_OF_EASY_NEGATIVES))
    found = np.flatnonzero(chosen)
    return found, np.where(sure[found], 1, 1 / SHARE_OF_EASY_NEGATIVES).astype(np.float32)


def fit(
    examples: Examples, queries: NDArray[np.bool_], *, columns: NDArray[np.bool_] | None = None, seed: int = 0
) -> Ranker:
    """Train on some queries; `columns` leaves features out (they are zero)."""
    torch.manual_seed(seed)
    chosen, weights = sample(examples, queries, seed)
    used = examples.features[chosen]
    mean, scale = used.mean(axis=0), 1 / (used.std(axis=0) + 1e-3)
    has_dense = examples.has_dense[examples.query_of[chosen]]
    if has_dense.any():
        mean[DENSE] = used[has_dense][:, DENSE].mean(axis=0)
        scale[DENSE] = 1 / (used[has_dense][:, DENSE].std(axis=0) + 1e-3)
    if columns is not None:
        scale = scale * columns
    relevant = torch.from_numpy(examples.relevant[chosen].astype(np.float32))
    rows = TrainingRows(
        prepare(examples, chosen, mean, scale), relevant, torch.from_numpy(weights), examples.query_of[chosen]
    )
    network = _train(rows, seed)
    return _as_ranker(network, mean, scale)


def _train(rows: TrainingRows, seed: int) -> torch.nn.Sequential:
    network = _network(rows.inputs.shape[1])
    starts = np.flatnonzero(np.diff(rows.query_of, prepend=-1))
    ends = np.append(starts[1:], len(rows.query_of))
    taught = np.flatnonzero(np.add.reduceat(rows.relevant.numpy(), starts))
    steps = -(-len(taught) // QUERIES_OF_A_STEP)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=EPOCHS * steps)
    generator = np.random.default_rng(seed)
    for _ in range(EPOCHS):
        for some in np.array_split(generator.permutation(taught), steps):
            chosen = np.concatenate([np.arange(starts[query], ends[query]) for query in some])
            query_of = torch.from_numpy(np.repeat(np.arange(len(some)), (ends - starts)[some]))
            loss = _loss(network(rows.inputs[chosen]).squeeze(1), rows, chosen, query_of, len(some))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it so
            optimizer.step()
            schedule.step()
    return network.eval()


def _network(inputs: int) -> torch.nn.Sequential:
    widths = (inputs, *HIDDEN)
    layers: list[torch.nn.Module] = []
    for before, after in zip(widths, HIDDEN, strict=False):
        layers += [torch.nn.Linear(before, after), torch.nn.ReLU(), torch.nn.Dropout(DROPOUT)]
    return torch.nn.Sequential(*layers, torch.nn.Linear(HIDDEN[-1], 1))


def _loss(
    outputs: torch.Tensor, rows: TrainingRows, chosen: NDArray[np.intp], query_of: torch.Tensor, queries: int
) -> torch.Tensor:
    """Mean over queries and their relevant premises: -log of the share of each against the others of its query."""
    relevant, weights = rows.relevant[chosen], rows.weights[chosen]
    largest = torch.full((queries,), -torch.inf).scatter_reduce(0, query_of, outputs.detach(), "amax")
    exponents = torch.exp(outputs - largest[query_of])
    others = torch.zeros(queries).index_add(0, query_of, exponents * weights * (1 - relevant))
    share = (outputs - largest[query_of]) - torch.log(others[query_of] + exponents)
    count = torch.zeros(queries).index_add(0, query_of, relevant)
    return -(relevant * share / count[query_of]).sum() / queries


def _as_ranker(network: torch.nn.Sequential, mean: Values, scale: Values) -> Ranker:
    """The server always has dense features: the column that says so becomes part of the first biases."""
    linear = [layer for layer in network if isinstance(layer, torch.nn.Linear)]
    layers = [(layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy()) for layer in linear]
    (first, biases), *rest = layers
    return Ranker(mean, scale, ((first[:-1], biases + first[-1]), *rest), (1.0, 0.0))


def outputs_of(ranker: Ranker, examples: Examples, chosen: NDArray[np.intp]) -> NDArray[np.float32]:
    """What a ranking gives for candidates, as in the server."""
    return ranker.outputs(examples.features[chosen])


def cross_validate(
    examples: Examples, queries: NDArray[np.bool_], columns: NDArray[np.bool_] | None = None, *, seed: int = 0
) -> NDArray[np.float32]:
    """Outputs for the candidates of some queries, each by a ranking that saw no query of its module; else NaN."""
    modules, module_of = np.unique(examples.module, return_inverse=True)
    fold_of = np.random.default_rng(7).permutation(len(modules))[module_of] % FOLDS
    outputs = np.full(len(examples.query_of), np.nan, dtype=np.float32)
    for fold in range(FOLDS):
        ranker = fit(examples, fold_of != fold, columns=columns, seed=seed)
        held_out = np.flatnonzero(((fold_of == fold) & queries)[examples.query_of])
        outputs[held_out] = outputs_of(ranker, examples, held_out)
    return outputs


def recalls(examples: Examples, outputs: NDArray[np.float32], queries: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Recall at CUTOFFS of each of the queries, shape (queries, cut-offs)."""
    ends = np.cumsum(np.bincount(examples.query_of, minlength=len(queries)))
    starts = np.concatenate([[0], ends[:-1]])
    found = []
    for query in np.flatnonzero(queries).tolist():
        span = slice(starts[query], ends[query])
        ranking = np.argsort(-outputs[span], kind="stable")
        found.append(recall(examples.relevant[span][ranking], int(examples.relevant_count[query])))
    return np.array(found)


def calibrate(outputs: NDArray[np.float32], relevant: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset of the logistic curve that fits how often candidates of an output are relevant."""
    values, truth = torch.from_numpy(outputs), torch.from_numpy(relevant.astype(np.float32))
    curve = torch.tensor([1.0, -5.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([curve], max_iter=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(curve[0] * values + curve[1], truth)
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it so
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call] # torch leaves it so
    slope, offset = curve.detach().tolist()
    return slope, offset


def _rank_in_query(query_of: NDArray[np.int32], values: Values) -> NDArray[np.intp]:
    order = np.lexsort((-values, query_of))
    starts = np.flatnonzero(np.diff(query_of, prepend=-1))
    ranks = np.empty(len(values), dtype=np.intp)
    ranks[order] = np.arange(len(values)) - np.repeat(starts, np.diff(np.append(starts, len(values))))
    return ranks


def make_examples(
    corpus_folder: Path,
    evaluation: EvaluationSet,
    vectors: Path,
    goals: Path | None = None,
    known_uses: Mapping[str, int] | None = None,
) -> Examples:
    """Examples of all queries that can be placed; the vectors of their goals are kept in `goals`."""
    corpus = read_corpus(corpus_folder)
    placed = PlacedCorpus.read(corpus_folder, corpus_folder, corpus)
    queries = [query for query in map(placed.place, evaluation.queries) if isinstance(query, PlacedQuery)]
    with TemporaryDirectory() as folder:
        write_term_index(Path(folder), corpus)
        maker = ExampleMaker(placed, TermIndex.open(Path(folder)), np.load(vectors, mmap_mode="r"), known_uses)
        return maker.make(queries, _embed_goals(queries, goals))


def _embed_goals(queries: Sequence[PlacedQuery], path: Path | None) -> NDArray[np.float32]:
    if path and path.exists():
        known: NDArray[np.float32] = np.load(path)
        return known
    encoder = Encoder.load(
        model_folder(Settings(model_id="demo")), dtype="float32", device="cpu", cache_dtype="float32", threads=1
    )
    goals = np.concatenate([encoder.embed(encoder.tokenize([query.query.state])) for query in queries])
    if path:
        np.save(path, goals)
    return goals


def write_trained(folder: Path, ranker: Ranker, uses: Counter[str], facts: dict[str, object]) -> None:
    """Write what `Ranker.load` and `load_uses` read."""
    folder.mkdir(exist_ok=True)
    arrays = {"mean": ranker.mean, "scale": ranker.scale}
    for place, (weights, biases) in enumerate(ranker.layers):
        arrays |= {f"weights{place}": weights, f"biases{place}": biases}
    np.savez(folder / WEIGHTS_FILE, allow_pickle=False, **arrays)
    (folder / USES_FILE).write_bytes(orjson.dumps(dict(sorted(uses.items())), option=orjson.OPT_APPEND_NEWLINE))
    manifest = {"version": VERSION, "features": FEATURES, "calibration": ranker.calibration, **facts}
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n")


def report(name: str, values: NDArray[np.float64]) -> None:
    print(f"{name:24s}", " ".join(f"{value:.3f}" for value in values.mean(axis=0)), flush=True)


def report_scenes(examples: Examples, name: str, outputs: NDArray[np.float32]) -> None:
    """Recall of queries asked from their files, and from projects."""
    report(name, recalls(examples, outputs, examples.where(in_project=False)))
    report(f"{name}, in projects", recalls(examples, outputs, examples.where(in_project=True)))


def report_baselines(examples: Examples) -> None:
    """Recall of the simpler rankings, which hardly depends on the scene."""
    judged = examples.where(in_project=False)
    print(f"{judged.sum()} of {(~examples.in_project).sum()} queries have dense features; recall at", *CUTOFFS)
    for place, name in enumerate(BASELINES):
        report(name, examples.baselines[judged, place])


def mean_recall(examples: Examples, outputs: NDArray[np.float32], queries: NDArray[np.bool_]) -> dict[str, float]:
    """By cut-off, for the manifest."""
    means = recalls(examples, outputs, queries).mean(axis=0).round(4)
    return dict(zip(map(str, CUTOFFS), means.tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("evaluation", type=Path)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--examples", type=Path, help="keep the examples here, or take them from here")
    parser.add_argument("--goals", type=Path, help="keep the vectors of the goals here, or take them from here")
    parser.add_argument("--ablate", action="store_true", help="validate without each group of features too")
    parser.add_argument("--out", type=Path, default=TRAINED)
    options = parser.parse_args()
    torch.set_num_threads(1)
    evaluation = EvaluationSet.read(options.evaluation)
    if options.examples and options.examples.exists():
        examples = Examples.load(options.examples)
    else:
        examples = make_examples(options.corpus, evaluation, options.vectors, options.goals)
        if options.examples:
            examples.save(options.examples)
    everything = np.ones(len(examples.relevant_count), dtype=np.bool_)
    report_baselines(examples)
    outputs = cross_validate(examples, everything)
    report_scenes(examples, "hybrid", outputs)
    if options.ablate:
        for group, names in FEATURE_GROUPS.items():
            columns = np.array([name not in names for name in FEATURES])
            report_scenes(examples, f"without {group}", cross_validate(examples, everything, columns))
    in_file, in_project = examples.where(in_project=False), examples.where(in_project=True)
    of_judged = (in_file | in_project)[examples.query_of]
    calibration = calibrate(outputs[of_judged], examples.relevant[of_judged])
    trained = fit(examples, everything)
    ranker = Ranker(trained.mean, trained.scale, trained.layers, calibration)
    uses = Counter(name for query in evaluation.queries for name in query.relevant)
    facts: dict[str, object] = {
        "trained_on": {
            "evaluation_set": options.evaluation.name,
            "evaluation_digest": evaluation.digest,
            "queries": int((~examples.in_project).sum()),
            "queries_with_dense_features": int((examples.has_dense & ~examples.in_project).sum()),
            "model": "all-MiniLM-L6-v2 (demo)",
            "examples_digest": hashlib.sha256(np.ascontiguousarray(examples.features).data).hexdigest()[:16],
        },
        "cross_validated_recall": mean_recall(examples, outputs, in_file),
        "cross_validated_recall_in_projects": mean_recall(examples, outputs, in_project),
    }
    write_trained(options.out, ranker, uses, facts)


if __name__ == "__main__":
    main()
