"""Every setting of the frontier: what `predict` is told beside the committed network."""

from __future__ import annotations

from typing import Any

Model = dict[str, Any]

L2 = {"class_path": "sgm_lightning.scores.Lp", "init_args": {"p": 2.0}}
CLASSIFIER = {
    "class_path": "sgm_lightning.scores.FeatureDistance",
    "init_args": {"extractor": {"class_path": "sgm_lightning.features.FashionMNISTClassifier"}},
}


def guided(
    gradient: str = "jacobian_free",
    distance: Any = L2,
    interval: int = 1,
    start: float = -1.0,
    stop: float = 1.0,
    **options: Any,
) -> Model:
    score = {"distance": distance, "level": {"ratio": 0.8}}
    window = {"start": start, "stop": stop, "interval": interval}
    arguments = {"gradient": gradient, "score": score, "window": window, **options}
    return {"guidance": {"class_path": "sgm_lightning.guidance.SelfGuidance", "init_args": arguments}}


def released(scale: float, distance: Any = L2) -> Model:
    """As published: 250 steps, every 5th guided, the exact gradient."""
    return {"spacing": 250, **guided("exact", distance, scale=scale, interval=5)}


def ancestral(steps: int) -> Model:
    return {"spacing": steps}


def solver(steps: int, stochastic: bool = True) -> Model:
    sampler = {"class_path": "sgm_lightning.samplers.DPMSolverPlusPlus", "init_args": {"stochastic": stochastic}}
    return {"spacing": steps, "sampler": sampler}


def mixed(low: int, high: int) -> Model:
    """So many steps in the less and in the more noisy half of the train steps; noise is added where σ / α ≥ 0.64."""
    options = {"stochastic": True, "min_sigma": 0.64}
    return {
        "spacing": f"{low},{high}",
        "sampler": {"class_path": "sgm_lightning.samplers.DPMSolverPlusPlus", "init_args": options},
    }


def mixed_best_of(candidates: int, low: int, high: int, **options: Any) -> Model:
    """All candidates go through the noisier half, one goes on; the perturb step is that of 0.8 of an even chain."""
    score = {"class_path": "sgm_lightning.scores.MinorityScore", "init_args": {"level": -2.3}}
    stage = ((low - 0.5) / (low + high), 1)
    return best_of({**mixed(low, high), **options}, candidates, stage, score=score)


def minority(scale: float) -> Model:
    """Guided by the committed classifier of minority levels, at every step."""
    path = "checkpoints/fashion_mnist_minority_classifier"
    classifier = {"class_path": "sgm_lightning.classifiers.TrainedClassifier", "init_args": {"path": path}}
    arguments = {"classifier": classifier, "label": 9, "scale": scale}
    return {"guidance": {"class_path": "sgm_lightning.guidance.ClassifierGuidance", "init_args": arguments}}


def best_of(model: Model, candidates: int, *stages: tuple[float, int], **options: Any) -> Model:
    """The model's sampler, drawing several candidates."""
    inner = model.get("sampler", {"class_path": "sgm_lightning.samplers.DDPM"})
    arguments = {"num_candidates": candidates, "stages": [list(stage) for stage in stages], "sampler": inner, **options}
    return {**model, "sampler": {"class_path": "sgm_lightning.samplers.BestOf", "init_args": arguments}}


SETTINGS: dict[str, Model] = {
    # What the published form gives, and what it starts from.
    "ancestral 250": ancestral(250),
    "released, L_2, 0.5": released(0.5),
    "released, L_2, 1": released(1.0),
    "released, classifier, 0.5": released(0.5, CLASSIFIER),
    # Fewer steps alone.
    "ancestral 25": ancestral(25),
    "SDE solver 25": solver(25),
    "ODE solver 25": solver(25, False),
    # Guidance without a backward on a short chain.
    "SDE 25, free, rate 0.1": {**solver(25), **guided(rate=0.1)},
    "SDE 25, free, rate 0.2": {**solver(25), **guided(rate=0.2)},
    "SDE 25, free, rate 0.4": {**solver(25), **guided(rate=0.4)},
    "SDE 25, exact, rate 0.2": {**solver(25), **guided("exact", rate=0.2)},
    "ODE 25, free, rate 0.2": {**solver(25, False), **guided(rate=0.2)},
    "ancestral 25, free, rate 0.2": {**ancestral(25), **guided(rate=0.2)},
    "SDE 15, exact, rate 0.2, every 2nd": {**solver(15), **guided("exact", rate=0.2, interval=2)},
    "SDE 15, exact, rate 0.15, every 2nd": {**solver(15), **guided("exact", rate=0.15, interval=2)},
    # Guidance by a classifier of the model's own scores.
    "SDE 25, minority classifier, 1": {**solver(25), **minority(1.0)},
    "SDE 25, minority classifier, 2": {**solver(25), **minority(2.0)},
    # Where in the chain it pays.
    "SDE 25, free, rate 0.2, first third": {**solver(25), **guided(rate=0.2, start=0.667)},
    "SDE 25, free, rate 0.2, middle third": {**solver(25), **guided(rate=0.2, start=0.333, stop=0.667)},
    "SDE 25, free, rate 0.2, last third": {**solver(25), **guided(rate=0.2, stop=0.333)},
    # Choosing.
    "SDE 25, best of 2": best_of(solver(25), 2),
    "SDE 25, best of 4 at a half": best_of(solver(25), 4, (0.5, 1)),
    "SDE 25, best of 4 at 0.3": best_of(solver(25), 4, (0.3, 1)),
    "SDE 20, 6 to 3 to 1": best_of(solver(20), 6, (0.6, 3), (0.3, 1)),
    "SDE 15, best of 4 at a half": best_of(solver(15), 4, (0.5, 1)),
    "SDE 25, best of 4 at a half, free, rate 0.2": best_of({**solver(25), **guided(rate=0.2)}, 4, (0.5, 1)),
    "SDE 12, best of 4 at a half, then exact, rate 0.2, every 2nd": best_of(
        {**solver(12), **guided("exact", rate=0.2, interval=2, stop=0.49)}, 4, (0.5, 1)
    ),
    # Noise in the noisier half only, more steps in the other.
    "mixed 15 + 10": mixed(15, 10),
    "mixed 14 + 7": mixed(14, 7),
    "mixed 14 + 7, best of 3": mixed_best_of(3, 14, 7),
    "mixed 13 + 5, best of 4": mixed_best_of(4, 13, 5),
    "mixed 15 + 10, best of 4": mixed_best_of(4, 15, 10),
    "SDE 25, tilt 1, 4 at a half": best_of(solver(25), 4, (0.5, 1), tilt=1.0),
}
