"""Every configuration that ships parses, and goes over the others that it is for."""

import pytest
from support.networks import small_model
from support.paths import ROOT
from support.runs import images

from sgm_lightning.cli import main
from sgm_lightning.commands.predict import SamplingCLI

# The folder of a configuration is its command; those of these go over, or into, others.
FOR_OTHERS = {"evaluation", "methods", "presets"}
CONFIGS = [path for path in sorted((ROOT / "configs").glob("*/*.yaml")) if path.parent.name not in FOR_OTHERS]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_config_parses(config):
    command = config.parent.name
    if command == "fit":
        command += "_classifier" * ("classifier:" in config.read_text()) + "_reader" * ("fit_reader" in config.read_text())
    output = ["--output", "x"] if command in ("convert", "features", "score") else []
    with pytest.raises(SystemExit) as end:
        main([command, "--config", str(config), *output, "--print_config"])
    assert end.value.code == 0


# Over which config a method goes, if not the demo's; the weights of the second group are not here.
BASES = dict.fromkeys(("cads", "classifier_free_guidance", "low_density"), "fashion_mnist_classes")
ABSENT = {"lsun_minority_guidance": "lsun_bedroom256"}
ADDED = {path.stem: path for folder in ("presets", "methods") for path in sorted((ROOT / "configs" / folder).glob("*.yaml"))}


@pytest.mark.parametrize("name", ABSENT)
def test_methods_whose_weights_are_not_here_parse(name):
    base = str(ROOT / f"configs/predict/{ABSENT[name]}.yaml")
    with pytest.raises(SystemExit) as end:
        main(["predict", "--config", base, "--config", str(ADDED[name]), "--print_config"])
    assert end.value.code == 0


# What the others add is tested where it lives; here, once more, that their files fit.
OFTEN = ("balanced", "best_of", "boost_and_skip", "low_density", "temporal_score_rescaling", "particle_guidance")


@pytest.mark.parametrize(
    "name",
    [n if n in OFTEN else pytest.param(n, marks=pytest.mark.slow) for n in sorted(set(ADDED) - set(ABSENT))],
)
def test_presets_and_methods_go_over_a_config(tmp_path, name):
    """Run for two samples of a short chain of a small network, uncompiled."""
    base = ROOT / f"configs/predict/{BASES.get(name, 'fashion_mnist')}.yaml"
    command = ["predict", "--config", str(base), "--config", str(ADDED[name])]
    command += ["--model.backbone.init_args.path", small_model(10 if "classes" in base.stem else None)]
    command += ["--trainer.callbacks", "null", "--model.baseline", "false", "--model.execution.compile", "false"]
    command += ["--model.spacing", "5", "--data.num_samples", "2", "--data.chunk_size", "3", "--model.score.num_draws", "1"]
    assert main([*command, "--run_dir", str(tmp_path / "run")]) == 0
    assert images(tmp_path).shape == (2, 28, 28, 1)


@pytest.mark.parametrize("name", ["celeba64", "lsun_bedroom256", "imagenet64"])
def test_missing_weights_name_their_source(tmp_path, capsys, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "--config", str(ROOT / f"configs/predict/{name}.yaml"), "--run_dir", "run"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "https://" in error and "model.backbone.init_args.path" in error
    assert not (tmp_path / "run").exists()


def test_subcommands():
    assert set(SamplingCLI.subcommands()) == {"predict"}
    assert main(["--help"]) == 0
