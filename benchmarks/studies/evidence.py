"""The evidence page: draws every setting, measures every set of images, writes the tables and figures of docs/results/evidence.md.

    python benchmarks/evidence.py            # all of it: some four hours on two CPU cores; again: what is missing
    python benchmarks/evidence.py measure    # the measured rows alone, of what is drawn
    python benchmarks/evidence.py report     # tables and figures of what is measured

Needs Fashion-MNIST (Debian: dataset-fashion-mnist) and the extras `dev` and `efficientnet`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from protocol import best_of, degraded, evaluate, fill, markdown, measure, rare_test_images, spaces
from torch import Tensor

from sgm_lightning.evaluation import LoadedSpace, Results
from sgm_lightning.evaluation.figures import save_extremes, save_histograms, save_scatter
from sgm_lightning.evaluation.report import paired_differences
from sgm_lightning.evaluation.statistics import holm, rank_correlation, two_sided_p
from sgm_lightning.features import FashionMNISTClassifier
from sgm_lightning.images import ArrayImages, FashionMNIST, Images, RunImages

RUNS = Path("runs/evidence")
PAGE = Path("docs/results/evidence.md")
NUM_SAMPLES = 1000
# Scale and interval; 100 steps, L_2, otherwise as released. The first also draws the ancestral samples of the same noise.
SETTINGS = {
    "scale_1": (1.0, 5),
    "scale_0.5": (0.5, 5),
    "scale_1_interval_10": (1.0, 10),
}


def title(setting: str) -> str:
    scale, interval = SETTINGS[setting]
    return f"self-guided, scale {scale:g}, every {interval}th"


def draw() -> None:
    """`predict`, twice at a time with a thread each, for every setting."""
    for setting, (scale, interval) in SETTINGS.items():
        guidance = "--model.guidance.init_args"
        command = [sys.executable, "-m", "sgm_lightning", "predict", "--config", "fashion_mnist"]
        command += ["--run_dir", str(RUNS / setting), "--data.num_samples", str(NUM_SAMPLES), "--data.chunk_size", "20"]
        command += [f"{guidance}.scale", str(scale), f"{guidance}.interval", str(interval), "--trainer.callbacks", "null"]
        command += ["--model.baseline", str(setting == "scale_1").lower()]
        workers = [subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}) for _ in range(2)]
        if any(worker.wait() for worker in workers):
            sys.exit(f"{setting} was not finished; the same command resumes.")


def measured(name: str) -> Path:
    """Where the measured rows of a set are kept."""
    return RUNS / "measured" / ("".join(c if c.isalnum() else "_" for c in name) + ".pt")


def sets(tail: list[int] | None) -> dict[str, Images]:
    """Every row of the table."""
    test = FashionMNIST("test")
    found: dict[str, Images] = {"real: test images": FashionMNIST("test", limit=NUM_SAMPLES)}
    if tail is not None:
        found["real: rare test images"] = ArrayImages(test.read(tail), name="rare test images")
    first = RUNS / next(iter(SETTINGS))
    if (first / "baseline.npz").is_file():
        ancestral = RunImages(str(first), "baseline")
        found["ancestral"] = ancestral
        found |= degraded(ancestral.images[: NUM_SAMPLES // 2], "ancestral")
    for setting in SETTINGS:
        if (RUNS / setting / "samples.npz").is_file():
            found[title(setting)] = RunImages(str(RUNS / setting))
    return found


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
REALISM = tuple(f"{space}/{key}" for space in ("classifier", "random", "imagenet") for key in ("precision", "density"))


def tables(found: dict[str, Results]) -> dict[str, str]:
    """The tables of the page by name."""
    made = {}
    for space in ("classifier", "random", "imagenet"):
        keys = [key for key in COLUMNS if key.startswith(space) or (space == "classifier" and "/" not in key)]
        lines = []
        for name, results in found.items():
            cells = []
            for key in keys:
                value = results.values.get(key)
                text = "–" if value is None or value.value is None else f"{value.value:.3g}"
                if value is not None and value.standard_error and key in ("minority_score", "nelbo", f"{space}/avg_knn"):
                    text += f" ± {value.standard_error:.1g}"
                cells.append(text)
            lines.append([name, str(len(results.index)), *cells])
        made[space] = markdown(["", "N", *(COLUMNS[key] for key in keys)], lines)
    lines = []
    for setting in SETTINGS:
        if title(setting) not in found:
            continue
        differences = paired_differences(found["ancestral"], found[title(setting)])
        adjusted = holm({key: two_sided_p(differences[key]) for key in OTHERS})
        for key in (PRIMARY, *OTHERS, *REALISM):
            d = differences[key]
            p = adjusted.get(key, two_sided_p(d) if key == PRIMARY else float("nan"))
            space = key.partition("/")[0] if "/" in key else "the model"
            lines.append(
                [
                    title(setting),
                    f"{COLUMNS[key]}, {space}" + (" (primary)" if key == PRIMARY else ""),
                    f"{d.value:+.3g} ± {d.standard_error:.2g}",
                    f"{d.low:+.3g} … {d.high:+.3g}",
                    f"{d.value / d.standard_error:+.1f}",
                    "" if key in REALISM else f"{p:.1g}",
                ]
            )
    made["paired"] = markdown(["setting", "measure", "guided − ancestral", "95 %", "difference / s.e.", "p"], lines)
    return made


def real_images(rows: dict[str, Tensor], found: Results, known: dict[str, LoadedSpace]) -> dict[str, str]:
    """Does the score mean anything on real images?"""
    images = FashionMNIST("test", limit=NUM_SAMPLES)
    ink = images.images.float().mean((1, 2, 3)).numpy()
    size = np.array([len(zlib.compress(image.numpy().tobytes(), 9)) for image in images.images])
    score, nelbo = found.per_sample["minority_score"], found.per_sample["nelbo"]
    targets = {
        "ink (mean brightness)": ink,
        "compressed size": size,
        "NELBO": nelbo,
        **{f"AvgkNN, {space}": found.per_sample[f"{space}/avg_knn"] for space in known},
        **{f"LOF, {space}": found.per_sample[f"{space}/lof"] for space in known},
    }
    given = np.column_stack([ink, size])
    source = np.random.default_rng(0)
    draws = [source.integers(0, len(score), len(score)) for _ in range(300)]

    def with_interval(x: np.ndarray, y: np.ndarray, covariates: np.ndarray | None = None) -> str:
        values = [rank_correlation(x[d], y[d], None if covariates is None else covariates[d]) for d in draws]
        low, high = np.quantile(values, [0.025, 0.975])
        return f"{rank_correlation(x, y, covariates):+.2f} ({low:+.2f} … {high:+.2f})"

    lines = []
    for name, values in targets.items():
        own = "compressed" in name or "ink" in name
        cells = [with_interval(score, values), "" if own else with_interval(score, values, given)]
        cells += ["" if name == "NELBO" else with_interval(nelbo, values)]
        cells += ["" if name == "NELBO" or own else with_interval(nelbo, values, given)]
        lines.append([name, *cells])
    head = ["test images, N = 1,000", "score", "score, given ink and size", "NELBO", "NELBO, given ink and size"]
    return {"correlations": markdown(head, lines)}


def classes(known: dict[str, LoadedSpace], score: np.ndarray, all_sets: dict[str, Images]) -> dict[str, str]:
    """Which classes a method draws, and how rare the model holds them."""
    classifier = known["classifier"].extractor
    names = ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
    labels = FashionMNIST("test", limit=NUM_SAMPLES).labels
    assert labels is not None and isinstance(classifier, FashionMNISTClassifier)
    shares = {}
    for name, images in all_sets.items():
        if name == "ancestral" or name.startswith("self-guided"):
            found = torch.cat([classifier.classes(batch).argmax(1) for _, batch in images.batches(500)])
            shares[name] = torch.bincount(found, minlength=10).double() / len(found)
    mean_score = np.array([score[labels.numpy() == c].mean() for c in range(10)])
    lines = [["real: mean score", *(f"{value:.2f}" for value in mean_score)]]
    lines += [[name, *(f"{100 * value:.1f} %" for value in share)] for name, share in shares.items()]
    text = markdown(["", *names], lines)
    if "ancestral" in shares:
        rho = rank_correlation(mean_score, shares["ancestral"].numpy())
        text += f"\n\nOver the ten classes, a class's mean score and its share of the ancestral samples: ρ = {rho:+.2f}."
    return {"classes": text}


def told_apart(found: dict[str, Results], rows: dict[str, dict[str, Tensor]]) -> dict[str, str]:
    """AUC of a logistic regression between a set and real images of the same AvgkNN (0.5: not told apart)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    real_names = ["real: test images", "real: rare test images"]
    lines = []
    spaces_scored = [("classifier", "features/random"), ("random", "features/classifier")]
    for name, results in found.items():
        if name.startswith("real"):
            continue
        cells = []
        for space, features in spaces_scored:
            pool = np.concatenate([found[r].per_sample[f"{space}/avg_knn"] for r in real_names])
            pool_rows = torch.cat([rows[r][features] for r in real_names]).numpy()
            own = results.per_sample[f"{space}/avg_knn"]
            matched = _matched(own, pool)
            x = np.concatenate([rows[name][features].numpy()[[i for i, _ in matched]], pool_rows[[j for _, j in matched]]])
            y = np.repeat([1, 0], len(matched))
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
            order = np.random.default_rng(0).permutation(len(y))
            auc = cross_val_score(model, x[order], y[order], cv=5, scoring="roc_auc").mean()
            cells.append(f"{auc:.3f} ({len(matched)} pairs)")
        lines.append([name, *cells])
    head = ["", "matched in classifier, told by random", "matched in random, told by classifier"]
    return {"told_apart": markdown(head, lines)}


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


def memorisation(found: dict[str, Results]) -> dict[str, str]:
    """Share of samples nearer to a training image than to any test image, by decile of AvgkNN."""
    lines = []
    for name, results in found.items():
        values, rarity = results.per_sample["classifier/memorised"], results.per_sample["classifier/avg_knn"]
        deciles = np.array_split(np.argsort(rarity), 10)
        lines.append([name, *(f"{values[rows].mean():.2f}" for rows in deciles)])
    return {"memorised": markdown(["", *(f"{10 * d + 10} %" for d in range(10))], lines)}


def report() -> None:
    known = spaces()
    all_sets = sets(rare_test_images(known))
    rows = {name: measure(measured(name), images, known) for name, images in all_sets.items()}
    cost = {setting: evaluations(*SETTINGS[setting]) / 100 for setting in SETTINGS}
    first = next(iter(SETTINGS))
    chosen = best_of(rows["ancestral"], 1 / cost[first])
    rows = dict(rows)
    order = list(rows)
    best = f"best of {cost[first]:.2g} ancestral (cost of scale {SETTINGS[first][0]:g})"
    order.insert(order.index("ancestral") + 1, best)
    rows[best] = chosen
    found = {name: evaluate(rows[name], known) for name in order}
    real = "real: test images"
    made = tables(found)
    made |= real_images(rows[real], found[real], known)
    made |= classes(known, found[real].per_sample["minority_score"], all_sets)
    made |= told_apart(found, rows) | memorisation(found)
    shown = [name for name in found if name in (real, "ancestral", best) or name.startswith("self-guided")]
    folder = PAGE.parent / "evidence"
    folder.mkdir(exist_ok=True)
    save_histograms(folder / "histograms.png", {name: found[name] for name in shown[:6]})
    save_scatter(folder / "scatter.png", {name: found[name] for name in (real, "ancestral", title(first))})
    pictures = {name: (found[name], all_sets[name].read) for name in ("ancestral", title(first), real)}
    save_extremes(folder / "extremes_score.png", pictures, "minority_score")
    save_extremes(folder / "extremes_avg_knn.png", pictures, "imagenet/avg_knn")
    save_curve(folder / "curve.png", found)
    fill(PAGE, made)


def save_curve(path: Path, found: dict[str, Results]) -> None:
    """Rarity against realism in every space: AvgkNN over density, with standard errors."""
    figure = Figure(figsize=(13, 4.6), dpi=100, layout="constrained")
    handles = {}
    for position, space in enumerate(("classifier", "random", "imagenet")):
        axes = figure.add_subplot(1, 3, position + 1)
        for number, (name, results) in enumerate(found.items()):
            x, y = (results.values[f"{space}/{key}"] for key in ("density", "avg_knn"))
            marker = "s" if name.startswith("real") else "o" if name.startswith("self") else "^"
            handles[name] = axes.errorbar(
                x.value, y.value, y.standard_error, x.standard_error, marker, color=f"C{number}", markersize=7, label=name
            )
        axes.set_xlabel(f"density, {space}: more real →")
        axes.set_ylabel("AvgkNN: rarer →")
        axes.set_xlim(0, 1.15)  # blur's density in the random space lies outside
    figure.legend(handles=list(handles.values()), loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path)


def evaluations(scale: float, interval: int, steps: int = 100) -> float:
    """Network evaluations of a sample, a backward to the image counted as one (as measured)."""
    guided = len(range(0, steps, interval)) if scale else 0
    return steps + 2 * guided


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", nargs="?", choices=["draw", "measure", "report"])
    stage = parser.parse_args().stage
    if stage in (None, "draw"):
        draw()
    if stage == "measure":
        known = spaces()
        for name, images in sets(rare_test_images(known)).items():
            measure(measured(name), images, known)
    if stage in (None, "report"):
        report()


if __name__ == "__main__":
    main()
