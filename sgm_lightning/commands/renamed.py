"""Old names of classes, arguments, keys and configurations, and their current names.

A renaming needs only a new row: in `CLASSES` for a class that has moved, in `ARGUMENTS` for an argument of a class that
configurations name, in `KEYS` for a key of a command.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from sgm_lightning.errors import SGMError

# Old class path: current class path. The module between the package's room and the class does not matter.
CLASSES = {
    **{
        f"sgm_lightning.{old}.{name}": f"sgm_lightning.{new}.{name}"
        for old, new, names in (
            ("data", "predict", "Chunk LowResolution SampleIndices"),
            ("data", "fit", "FolderData TrainingBatch TrainingData"),
            ("data", "evaluation.data", "EvaluatedImages"),
            ("callbacks", "predict", "Evaluate RunWriter SamplingProgress"),
            ("callbacks", "fit", "SampleGrid TrainingRun WeightAverage"),
            ("callbacks", "evaluation.writer", "ReportWriter"),
            ("guidance", "scores", "FeatureDistance LPIPS Lp PerComplexity SquaredError"),
            ("metrics", "scores", "negative_elbo"),
            ("modules", "predict", "SamplingModule"),
            ("modules", "fit", "ClassifierTraining TrainingModule"),
            ("modules", "evaluation.module", "EvaluationModule"),
            ("sources", "images", "LongTail MinorityLevels RealAndDrawn"),
            ("training", "fit", "LossSecondMoment Losses Objective StepSampler UniformSteps"),
            ("training", "backbones.lora", "LoRA"),
        )
        for name in names.split()
    },
    **{
        f"sgm_lightning.{room}.{old}": f"sgm_lightning.images.{new}"
        for room in ("sources", "images")
        for old, new in (("CSVSource", "CSVImages"), ("FolderSource", "ImageFolder"), ("Source", "Images"))
    },
    "sgm_lightning.features.Prepare": "sgm_lightning.features.Normalise",
}
# (Class without its modules, old argument): end of the sentence about it, as in "is now `num_draws`".
ARGUMENTS: dict[tuple[str, str], str] = {
    ("SelfGuidance", "distance"): "is now `score.distance`",
    ("SelfGuidance", "perturb_ratio"): "is now `score.level.ratio`",
    ("SelfGuidance", "perturb_train_step"): "is now `score.level.train_step`",
    ("SelfGuidance", "perturb_log_snr"): "is now `score.level`",
    ("SelfGuidance", "num_draws"): "is now `score.num_draws`",
    ("SelfGuidance", "batch_draws"): "is now `score.batch_draws`",
    ("SelfGuidance", "detach"): "is now `score.fixed`",
    ("SelfGuidance", "interval"): "is now `window.interval`",
    ("SelfGuidance", "start_ratio"): "is now `window.start`",
    ("SelfGuidance", "stop_ratio"): "is now `window.stop`",
    ("Window", "guidance"): "is no longer wrapped: give that guidance `window: {start: …, stop: …, interval: …}`",
}
# (Class, argument, old class of its value): end of the sentence about it.
VALUES: dict[tuple[str, str, str], str] = {
    ("BestOf", "score", "SelfGuidance"): "is now a MinorityScore: give `score: {distance: …, level: …, num_draws: …}`",
}
# Old class without its modules: its replacement.
REPLACED = {"ELBOGuidance": "SelfGuidance with `score: {class_path: ELBOScore}`"}
# (Command, old dotted key without `init_args`): end of the sentence about it, as in "is now `model.num_draws`".
KEYS: dict[tuple[str, str], str] = {
    **{
        (command, f"model.score_{old}"): f"is now `model.score.{new}`"
        for command in ("predict", "test")
        for old, new in (("distance", "distance"), ("perturb_ratio", "level.ratio"), ("draws", "num_draws"))
    },
    ("score", "distance"): "is now `score.distance`",
    ("score", "perturb_index"): "is now the noise level `score.level`, given as a log-SNR, a train step or a ratio",
    ("score", "num_draws"): "is now `score.num_draws`",
}
# Old name of a shipped configuration, without `.yaml`: current name.
CONFIGS = {
    **{
        name: f"predict/{name}"
        for name in (
            *("celeba64", "fashion_mnist", "fashion_mnist_classes", "fashion_mnist_classes_plain", "hub_cifar10"),
            *("imagenet256_cascade", "imagenet64", "lsun_bedroom256"),
        )
    },
    "predict_finetuned": "predict/finetuned",
    "finetune_folder": "fit/finetune_folder",
    **{
        f"train_{name}": f"fit/{name}"
        for name in (
            *("class_classifier", "discriminator", "fashion_mnist", "fashion_mnist_low_noise", "long_tail"),
            *("lsun_minority_classifier", "minority_classifier"),
        )
    },
    **{
        f"{command}_{name}": f"{command}/{name}"
        for command, names in (
            ("test", "celeba64 fashion_mnist inception"),
            ("compare", "fashion_mnist fashion_mnist_classes self_guidance"),
            ("score", "fashion_mnist lsun_bedroom256"),
            ("features", "class_means"),
            ("convert", "fashion_mnist"),
        )
        for name in names.split()
    },
}
_NESTED = ("init_args", "dict_kwargs")


def moved_config(name: str) -> str | None:
    """Return the current name of a shipped configuration; None if none ever had that name."""
    return CONFIGS.get(Path(name).name.removesuffix(".yaml"))


def refuse_renamed(args: list[str], configs: dict[str, dict[str, Any]]) -> None:
    """Raise if a configuration or an argument uses an old name.

    Args:
        args: Arguments of a command, starting with its name.
        configs: Contents of its configurations, by file.

    Raises:
        SGMError: For the first old name; the sentence gives the new one.
    """
    command = args[0]
    typed = _tree(args[1:])
    merged: dict[str, Any] = {}
    for content in configs.values():
        merged = _merged(merged, _flat(content))
    # Each alone, because a value that is replaced later is parsed as well; then merged, because the class may be named in
    # another file.
    for where, content in (
        *((file, _flat(content)) for file, content in configs.items()),
        ("the command line", typed),
        ("the command line and its configurations", _merged(merged, typed)),
    ):
        for told in _old_names(content, command):
            raise SGMError(f"{told}; change it in {where}.")


def _old_names(content: dict[str, Any], command: str) -> Iterator[str]:
    if command == "compare":  # whose settings are read by `predict`, and whose evaluation is the model of `test`
        settings = content.get("settings")
        parts = [content.get("base"), *(settings.values() if isinstance(settings, dict) else settings or [])]
        for part in parts:
            if isinstance(part, dict):
                yield from _walk(part, "predict")
        if isinstance(content.get("evaluation"), dict):
            yield from _walk({"model": content["evaluation"]}, "test")
        content = {key: value for key, value in content.items() if key not in ("base", "settings", "evaluation")}
    yield from _walk(content, "predict" if command == "estimate" else command)


def _walk(node: Any, command: str, key: str = "") -> Iterator[str]:
    """Yield a sentence for every old name inside a node, whose place is `key`."""
    if isinstance(node, str) and (new := _class_now(node)):
        yield f"{node} is now {new}"
    elif isinstance(node, list):
        for inside in node:
            yield from _walk(inside, command, key)
    elif isinstance(node, dict):
        name = _class_name(node)
        if name in REPLACED:
            yield f"{name} is now {REPLACED[name]}"
        for argument, value in node.items():
            place = f"{key}.{argument}" if key else str(argument)
            if (name, argument, _class_name(value)) in VALUES:
                yield f"{name}'s `{argument}` {VALUES[name, argument, _class_name(value)]}"
            if (name, argument) in ARGUMENTS:
                yield f"{name}'s `{argument}` {ARGUMENTS[name, argument]}"
            if (command, place) in KEYS:
                yield f"`{place}` of {command} {KEYS[command, place]}"
            yield from _walk(value, command, place)


def _class_name(node: Any) -> str:
    """The class that a node names, without its modules if it is one of the package's."""
    path = str(node.get("class_path", "") if isinstance(node, dict) else node)
    return path.rpartition(".")[2] if path.startswith("sgm_lightning.") or "." not in path else path


def _class_now(path: str) -> str | None:
    parts = path.split(".")
    return CLASSES.get(".".join((*parts[:2], parts[-1]))) if len(parts) > 2 else None


def _flat(node: Any) -> Any:
    """Move a class's arguments beside its `class_path`, where the command line may name them as well."""
    if isinstance(node, list):
        return [_flat(inside) for inside in node]
    if not isinstance(node, dict):
        return node
    flat = {str(key): _flat(value) for key, value in node.items() if key not in _NESTED}
    for key in _NESTED:
        if isinstance(node.get(key), dict):
            flat |= _flat(node[key])
    return flat


def _merged(first: Any, second: Any) -> Any:
    """Merge the second into the first; the arguments of a class are dropped when the class changes."""
    if not isinstance(first, dict) or not isinstance(second, dict):
        return {"class_path": first} | second if isinstance(first, str) and isinstance(second, dict) else second
    if second.get("class_path", first.get("class_path")) != first.get("class_path"):
        return second
    return first | {key: _merged(first[key], value) if key in first else value for key, value in second.items()}


def _tree(args: list[str]) -> dict[str, Any]:
    """Return options such as `--model.guidance.init_args.scale 1` as nested mappings, as in a configuration."""
    tree: dict[str, Any] = {}
    for index, arg in enumerate(args):
        if not arg.startswith("--") or arg.partition("=")[0] == "--config":
            continue
        option, equals, value = arg[2:].partition("=")
        text = value if equals else next(iter(args[index + 1 : index + 2]), "")
        try:
            inside = _flat(yaml.safe_load(text))
        except yaml.YAMLError:
            inside = text
        for key in reversed([key for key in option.removesuffix("+").split(".") if key not in _NESTED]):
            inside = {key: inside}
        tree = _merged(tree, inside)
    return tree
