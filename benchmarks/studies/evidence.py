"""The evidence page: tables and figures of docs/results/evidence.md, from the comparison that evidence.yaml describes.

    sgm-lightning compare --config benchmarks/studies/evidence.yaml --output runs/evidence
    python -m benchmarks.studies.evidence

The first takes some four hours on two CPU cores (start it twice; again: what is missing). Needs Fashion-MNIST (Debian:
dataset-fashion-mnist) and the extras `dev` and `efficientnet`.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch
from jsonargparse import auto_cli
from matplotlib.figure import Figure

from benchmarks.studies.pages import DOCS, Opened, fill, number, opened
from sgm_lightning.compare.measuring import Rows
from sgm_lightning.evaluation import Results
from sgm_lightning.evaluation.figures import save_extremes, save_histograms, save_scatter
from sgm_lightning.evaluation.format import markdown
from sgm_lightning.evaluation.report import paired_differences
from sgm_lightning.evaluation.statistics import holm, mean_estimate, rank_correlation, two_sided_p
from sgm_lightning.features import FashionMNISTClassifier

REAL, RARE, ANCESTRAL, GUIDED = "real: test images", "real: rare test images", "ancestral", "self-guided"
SPACES = ("classifier", "random", "imagenet")
# A guided sample, every 5th of 100 steps: a backward to the image counts as one forward (as measured).
COST = 1.4
FOLDS = 5
BEST = f"best of {COST:g} ancestral (cost of scale 1)"
COLUMNS = {
    "minority_score": "score",
    "nelbo": "NELBO",
    "classifier/avg_knn": "AvgkNN",
    "classifier/lof": "LOF",
    "classifier/rarity_k3": "rarity",
    "classifier/outside_k3": "outside",
    "classifier/precision": "prec.",
    "classifier/density": "density",
    "classifier/recall": "recall",
    "classifier/frechet": "FD",
    "classifier/tail_frechet": "FD tail",
    "classifier/memorised": "memorised",
    "random/avg_knn": "AvgkNN",
    "random/lof": "LOF",
    "random/precision": "prec.",
    "random/density": "density",
    "random/frechet": "FD",
    "random/tail_frechet": "FD tail",
    "imagenet/avg_knn": "AvgkNN",
    "imagenet/lof": "LOF",
    "imagenet/precision": "prec.",
    "imagenet/density": "density",
    "imagenet/frechet": "FD",
}
# One primary endpoint; Holm's correction for the other four.
PRIMARY = "imagenet/avg_knn"
OTHERS = ("minority_score", "nelbo", "classifier/avg_knn", "classifier/lof", "random/avg_knn", "imagenet/lof")
REALISM = tuple(f"{space}/{key}" for space in SPACES for key in ("precision", "density"))


def tables(found: dict[str, Results]) -> dict[str, str]:
    """The tables of the page by name."""
    made = {}
    for space in SPACES:
        keys = [key for key in COLUMNS if key.startswith(space) or (space == "classifier" and "/" not in key)]
        shown = ("minority_score", "nelbo", f"{space}/avg_knn")
        lines = []
        for name, results in found.items():
            values = [(key, results.values[key]) for key in keys if key in results.values]
            cells = {key: number(v.value, v.standard_error if key in shown else None) for key, v in values}
            lines.append([name, str(len(results.index)), *(cells.get(key, "–") for key in keys)])
        made[space] = markdown(["", "N", *(COLUMNS[key] for key in keys)], lines)
    lines = []
    for setting in (name for name in found if name.startswith(GUIDED)):
        differences = paired_differences(found[ANCESTRAL], found[setting])
        p = {key: two_sided_p(differences[key]) for key in (PRIMARY, *OTHERS)}
        p |= holm({key: p[key] for key in OTHERS})
        for key in (PRIMARY, *OTHERS, *REALISM):
            d = differences[key]
            space = key.partition("/")[0] if "/" in key else "the model"
            lines.append([
                setting, f"{COLUMNS[key]}, {space}" + " (primary)" * (key == PRIMARY),
                f"{d.value:+.3g} ± {d.standard_error:.2g}", f"{d.low:+.3g} … {d.high:+.3g}",
                f"{d.value / d.standard_error:+.1f}", f"{p[key]:.1g}" if key in p else "",
            ])  # fmt: skip
    made["paired"] = markdown(["setting", "measure", "guided − ancestral", "95 %", "difference / s.e.", "p"], lines)
    return made


def correlations(found: Results, images: torch.Tensor) -> str:
    """Does the score mean anything on real images? Ranks, alone and given ink and compressed size."""
    ink = images.float().mean((1, 2, 3)).numpy()
    size = np.array([len(zlib.compress(image.numpy().tobytes(), 9)) for image in images])
    given = np.column_stack([ink, size])
    source = np.random.default_rng(0)
    draws = [source.integers(0, len(images), len(images)) for _ in range(300)]

    def with_interval(x: np.ndarray, y: np.ndarray, covariates: np.ndarray | None = None) -> str:
        values = [rank_correlation(x[d], y[d], None if covariates is None else covariates[d]) for d in draws]
        low, high = np.quantile(values, [0.025, 0.975])
        return f"{rank_correlation(x, y, covariates):+.2f} ({low:+.2f} … {high:+.2f})"

    score, nelbo = found.per_sample["minority_score"], found.per_sample["nelbo"]
    targets = {"ink (mean brightness)": ink, "compressed size": size, "NELBO": nelbo}
    for key, label in (("avg_knn", "AvgkNN"), ("lof", "LOF")):
        targets |= {f"{label}, {space}": found.per_sample[f"{space}/{key}"] for space in SPACES}
    lines = []
    for name, values in targets.items():
        own = values is ink or values is size
        cells = [with_interval(score, values), "" if own else with_interval(score, values, given)]
        cells += ["" if values is nelbo else with_interval(nelbo, values)]
        cells += ["" if values is nelbo or own else with_interval(nelbo, values, given)]
        lines.append([name, *cells])
    heads = ["score", "score, given ink and size", "NELBO", "NELBO, given ink and size"]
    return markdown([f"test images, N = {len(images):,}", *heads], lines)


def classes(given: Opened, score: np.ndarray) -> str:
    """Which classes a method draws, and how rare the model holds them."""
    classifier, labels = given.evaluation.spaces["classifier"].extractor, given.sets[REAL].labels
    assert labels is not None and isinstance(classifier, FashionMNISTClassifier)
    names = ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
    mean_score = np.array([score[labels.numpy() == c].mean() for c in range(10)])
    lines = [["real: mean score", *(f"{value:.2f}" for value in mean_score)]]
    shares = {}
    for name, images in given.sets.items():
        if name == ANCESTRAL or name.startswith(GUIDED):
            found = torch.cat([classifier.classes(batch).argmax(1) for _, batch in images.batches(500)])
            shares[name] = torch.bincount(found, minlength=10).double().numpy() / len(found)
            lines.append([name, *(f"{100 * value:.1f} %" for value in shares[name])])
    rho = rank_correlation(mean_score, shares[ANCESTRAL])
    told = f"Over the ten classes, a class's mean score and its share of the ancestral samples: ρ = {rho:+.2f}."
    return f"{markdown(['', *names], lines)}\n\n{told}"


def told_apart(found: dict[str, Results], rows: dict[str, Rows]) -> str:
    """AUC of a logistic regression between a set and real images of the same AvgkNN (0.5: not told apart)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    lines = []
    for name, results in found.items():
        if name.startswith("real"):
            continue
        cells = []
        for space, features in (("classifier", "features/random"), ("random", "features/classifier")):
            pool = np.concatenate([found[r].per_sample[f"{space}/avg_knn"] for r in (REAL, RARE)])
            pool_rows = torch.cat([rows[r][features] for r in (REAL, RARE)]).numpy()
            matched = _matched(results.per_sample[f"{space}/avg_knn"], pool)
            if len(matched) < FOLDS:
                cells.append(f"– ({len(matched)} pairs)")
                continue
            x = np.concatenate([rows[name][features].numpy()[[i for i, _ in matched]], pool_rows[[j for _, j in matched]]])
            y = np.repeat([1, 0], len(matched))
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
            order = np.random.default_rng(0).permutation(len(y))
            auc = cross_val_score(model, x[order], y[order], cv=FOLDS, scoring="roc_auc").mean()
            cells.append(f"{auc:.3f} ({len(matched)} pairs)")
        lines.append([name, *cells])
    return markdown(["", "matched in classifier, told by random", "matched in random, told by classifier"], lines)


def _matched(own: np.ndarray, pool: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of nearly equal AvgkNN (within 5 %), each real image once."""
    free, pairs = set(range(len(pool))), []
    for i in np.random.default_rng(0).permutation(len(own)):
        candidates = np.array(sorted(free))
        j = candidates[np.abs(pool[candidates] - own[i]).argmin()]
        if abs(pool[j] - own[i]) <= 0.05 * own[i]:
            pairs.append((int(i), int(j)))
            free.discard(int(j))
    return pairs


def memorised(found: dict[str, Results]) -> str:
    """Share of samples nearer to a training image than to any test image, by decile of AvgkNN."""
    lines = []
    for name, results in found.items():
        values, rarity = results.per_sample["classifier/memorised"], results.per_sample["classifier/avg_knn"]
        deciles = np.array_split(np.argsort(rarity), 10)
        lines.append([name, *(f"{values[rows].mean():.2f}" for rows in deciles)])
    return markdown(["", *(f"{10 * d + 10} %" for d in range(10))], lines)


def page_rows(given: Opened) -> dict[str, Rows]:
    """What was measured, in the order of the page: the first half of what is degraded, and the rarest ancestral samples.

    These are chosen by the model's own score, as many as an equal cost of drawing leaves.
    """
    rows = {}
    for name in (REAL, RARE, ANCESTRAL, BEST, *given.sets):
        keep = torch.arange(len(given.rows[ANCESTRAL]["nelbo"]))
        if name == BEST:
            keep = given.rows[ANCESTRAL]["minority_score"].topk(round(len(keep) / COST)).indices.sort().values
        elif name.startswith(f"{ANCESTRAL} +"):
            keep = keep[: len(keep) // 2]
        rows[name] = {key: row[keep] for key, row in given.rows[ANCESTRAL if name == BEST else name].items()}
    return rows


def save_curve(path: Path, found: dict[str, Results]) -> None:
    """Rarity against realism in every space: AvgkNN over density, with standard errors."""
    figure = Figure(figsize=(13, 4.6), dpi=100, layout="constrained")
    handles = {}
    for position, space in enumerate(SPACES):
        axes = figure.add_subplot(1, 3, position + 1)
        for place, (name, results) in enumerate(found.items()):
            x, y = (mean_estimate(results.per_sample[f"{space}/{key}"], 1) for key in ("density", "avg_knn"))
            marker = "s" if name.startswith("real") else "o" if name.startswith("self") else "^"
            handles[name] = axes.errorbar(
                x.value, y.value, y.standard_error, x.standard_error, marker, color=f"C{place}", markersize=7, label=name
            )
        axes.set_xlabel(f"density, {space}: more real →")
        axes.set_ylabel("AvgkNN: rarer →")
        axes.set_xlim(0, 1.15)  # blur's density in the random space lies outside
    figure.legend(handles=list(handles.values()), loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path)


def evidence(output: str = "runs/evidence", comparison: str = "benchmarks/studies/evidence.yaml") -> None:
    """Fill the page from the finished comparison.

    Args:
        output: Its folder.
        comparison: Its configuration.
    """
    given = opened(comparison, output)
    rows = page_rows(given)
    found = {name: given.results(row) for name, row in rows.items()}
    made = tables(found)
    made["correlations"] = correlations(found[REAL], given.sets[REAL].read(range(len(given.sets[REAL]))))
    made["classes"] = classes(given, found[REAL].per_sample["minority_score"])
    made["told_apart"], made["memorised"] = told_apart(found, rows), memorised(found)
    guided = [name for name in found if name.startswith(GUIDED)]
    folder = DOCS / "evidence"
    save_histograms(folder / "histograms.png", {name: found[name] for name in (REAL, ANCESTRAL, BEST, *guided)})
    save_scatter(folder / "scatter.png", {name: found[name] for name in (REAL, ANCESTRAL, guided[0])})
    pictures = {name: (found[name], given.sets[name].read) for name in (ANCESTRAL, guided[0], REAL)}
    save_extremes(folder / "extremes_score.png", pictures, "minority_score")
    save_extremes(folder / "extremes_avg_knn.png", pictures, PRIMARY)
    save_curve(folder / "curve.png", found)
    fill(DOCS / "evidence.md", made)


if __name__ == "__main__":
    auto_cli(evidence)
