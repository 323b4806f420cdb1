"""Skill by noise level: its definition in closed form, its warning, and where `fit` tells it."""

import logging
import math
import re
import warnings

import numpy as np
import pytest
import torch
import yaml
from support.closed_forms import SHAPE, Counter, Gaussian, closed_form
from support.trainings import QUICK, grays, scalars, settings
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from sgm_lightning import Condition, DiffusionProcess
from sgm_lightning.cli import main
from sgm_lightning.fit.skill import LOG_SNRS, Skill, SkillByLevel, measured

MEAN, VARIANCE = 0.3, 0.2
PREDICTIONS = ["epsilon", "sample", "v_prediction"]


class Optimal(nn.Module):
    """The optimal network of N(MEAN, VARIANCE I), in the terms of a parametrisation."""

    def __init__(self, prediction):
        super().__init__()
        self.noise, self.prediction = Gaussian(MEAN, VARIANCE), prediction

    def forward(self, x, step):
        eps = self.noise(x, step)
        alpha = self.noise.alphas_cumprod[step].view(-1, 1, 1, 1)
        x_0 = (x - (1 - alpha).sqrt() * eps) / alpha.sqrt()
        v = alpha.sqrt() * eps - (1 - alpha).sqrt() * x_0
        return {"epsilon": eps, "sample": x_0, "v_prediction": v}[self.prediction]


class Constant(nn.Module):
    """A network whose x_0 is always the same."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x, step):
        return torch.full_like(x, self.value)


def pictures(count, seed=0):
    source = torch.Generator().manual_seed(seed)
    x_0, noise = (torch.randn(count, *SHAPE, generator=source) for _ in range(2))
    return MEAN + math.sqrt(VARIANCE) * x_0, noise


def skill_of(denoiser, x_0, noise, parts=1):
    metric = SkillByLevel(denoiser.process, SHAPE)
    for images, draws in zip(x_0.chunk(parts), noise.chunk(parts), strict=True):
        metric.update(denoiser, images, draws, Condition())
    return metric.compute()


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_an_optimal_network_has_the_skill_of_the_closed_form(prediction):
    """Its error is v / (1 + v e^ρ), and the best guess without it has the smaller one of v and e^−ρ."""
    found = skill_of(closed_form(Optimal(prediction), prediction=prediction), *pictures(8192))
    assert np.allclose(found.log_snrs, LOG_SNRS, atol=0.05) and found.tags == ("-6", "-4", "-2", "0", "2", "4")
    for level, error, reference, value in zip(found.log_snrs, found.errors, found.references, found.values, strict=True):
        best = VARIANCE / (1 + VARIANCE * math.exp(level))
        guess = min(VARIANCE, math.exp(-level))
        assert error == pytest.approx(best, rel=0.015) and reference == pytest.approx(guess, rel=0.015)
        assert value == pytest.approx(1 - best / guess, abs=0.015)
    assert found.references[-1] == math.exp(-found.log_snrs[-1]) < VARIANCE  # the scaled input
    assert found.warning(prediction, True) is None


def test_a_network_that_sees_nothing_has_none():
    """Zero is worse than the mean picture by its square, and the mean picture itself is as good as itself."""
    x_0, noise = pictures(4096)
    zero = skill_of(closed_form(Constant(0.0), prediction="sample"), x_0, noise)
    assert all(value == pytest.approx(-(MEAN**2) / VARIANCE, rel=0.1) for value in zero.values[:4]) and max(zero.values) < 0
    told = zero.warning("sample", False)
    assert all(f"{name} (skill −" in told for name in ("−6", "−4", "−2", "0", "2", "4")) and told.endswith("; train longer.")
    mean = skill_of(closed_form(Constant(MEAN), prediction="sample"), x_0, noise)
    assert np.allclose(mean.values[:4], 0, atol=1e-3)


def test_the_warning_names_the_levels_and_the_usual_remedies():
    found = Skill((-6.02, -0.01, 4.0), (0.3, 0.2, 0.01), (0.25, 0.25, 0.02), 100)
    assert str(found) == "−6: −0.20, 0: 0.20, 4: 0.50"
    told = found.warning("epsilon", True)
    assert "log-SNR −6 (skill −0.200); train longer" in told
    assert "`model.objective.min_snr_gamma: null`" in told and "`prediction: v_prediction`" in told
    assert "min_snr" not in found.warning("epsilon", False) and "prediction" not in found.warning("v_prediction", True)
    assert found._replace(errors=(0.25, 0.2, 0.01)).warning("epsilon", True) is None  # as good is not worse
    assert "0 (skill nan)" in found._replace(errors=(0.1, math.nan, 0.01)).warning("epsilon", True)


def test_few_pictures_are_measured_against_the_mean_of_all():
    """The mean of three pictures knows them: about it they vary by two thirds as much."""
    denoiser = closed_form(Constant(MEAN), prediction="sample")
    found = [skill_of(denoiser, *pictures(3, seed)).references[0] for seed in range(100)]
    assert np.mean(found) == pytest.approx(VARIANCE, abs=4 * np.std(found) / 10) and np.std(found) < 0.1


def test_pictures_without_a_variance_have_no_skill():
    denoiser = closed_form(Constant(0.0), prediction="sample")
    x_0, noise = pictures(4)
    assert skill_of(denoiser, x_0[:1], noise[:1]) is None
    assert skill_of(denoiser, x_0[:1].expand(4, *SHAPE), noise) is None


def test_batches_and_processes_add_up():
    denoiser = closed_form(Optimal("epsilon"))
    x_0, noise = pictures(60)
    whole = skill_of(denoiser, x_0, noise)
    first, second, idle = (SkillByLevel(denoiser.process, SHAPE) for _ in range(3))
    first.update(denoiser, x_0[:45], noise[:45], Condition())
    second.update(denoiser, x_0[45:], noise[45:], Condition())
    idle.update(denoiser, x_0[:0], noise[:0], Condition())
    for other in (second, idle):
        first.merge_state(other)
    for found in (first.compute(), skill_of(denoiser, x_0, noise, parts=7)):
        assert found.pictures == 60 and np.allclose(found.values, whole.values, rtol=1e-6)
    first.reset()
    first.update(denoiser, x_0, noise, Condition())
    assert first.compute() == whole


def test_levels_beyond_the_chain_are_its_ends_under_their_own_names():
    process = DiffusionProcess(torch.full((20,), 0.1, dtype=torch.float64))  # log-SNR 2.2 down to −2.0
    metric = SkillByLevel(process, SHAPE)
    assert metric.indices == sorted(set(metric.indices), reverse=True) and len(metric.indices) == 3
    assert metric.log_snrs[0] == process.log_snr_list[-1] and metric.log_snrs[-1] == process.log_snr_list[0]
    assert Skill(metric.log_snrs, (1, 1, 1), (1, 1, 1), 2).tags == ("-2", "-0.1", "2.2")
    fine = DiffusionProcess(torch.full((2000,), 1e-3, dtype=torch.float64))
    assert len(SkillByLevel(fine, SHAPE, (-6.0, fine.log_snr_list[-3])).indices) == 1  # both would be called −1.9


def test_it_costs_six_evaluations_of_some_pictures():
    network = Counter()
    skill_of(closed_form(network), *pictures(4))
    assert network.forwards == len(LOG_SNRS) == 6 and network.weight.grad is None
    assert bool(measured(torch.arange(256), 256).all()) and int(measured(torch.arange(1000), 1000).sum()) in range(250, 263)
    for period in (2, 4, 10):  # orders that pictures may have
        counts = torch.bincount(torch.arange(1000)[measured(torch.arange(1000), 1000)] % period, minlength=period)
        assert int(counts.min()) > 0.8 * 256 / period


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return grays(tmp_path_factory.mktemp("data"))


def number(text):
    return float(text.replace("−", "-"))


@pytest.mark.usefixtures("own_cache")
def test_fit_tells_it_in_the_log_the_curves_and_the_card(tmp_path, folder, caplog):
    """At the end, too, where no validation is due; a new network that predicts noise is worse than the mean picture."""
    caplog.set_level(logging.INFO)
    config = settings(folder, **QUICK, trainer__max_steps=2)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert main(["fit", "--config", str(tmp_path / "run.yaml"), "--run_dir", str(tmp_path / "run")]) == 0
    curves = scalars(tmp_path)
    assert list(curves["held_out/loss"]) == [1]  # the index of the second step, as at any other validation
    values = [curves[f"held_out/skill_at_{level:g}"][1] for level in LOG_SNRS]
    assert values[0] < -10 and values[-1] > -1

    # Curves hold 32-bit floats, so the last printed digit may be another one.
    (line,) = [message for message in caplog.messages if message.startswith("Skill by log-SNR at step 2: ")]
    told_levels = dict(re.findall(r"(−?\d+): (−?[\d.]+\d)", line))
    assert [number(level) for level in told_levels] == list(LOG_SNRS)
    assert [number(value) for value in told_levels.values()] == pytest.approx(values, abs=0.011)
    (sentence,) = [str(entry.message) for entry in told if "x0_hat is worse" in str(entry.message)]
    assert number(sentence.partition("log-SNR −6 (skill ")[2].partition(")")[0]) == pytest.approx(values[0], abs=0.002)
    events = EventAccumulator(str(next((tmp_path / "run/tensorboard").glob("events*")))).Reload()
    (text,) = events.Tensors("held_out/skill/text_summary")
    assert (text.step, text.tensor_proto.string_val[0].decode()) == (2, sentence)
    card = (tmp_path / "run/README.md").read_text()
    (row,) = re.findall(r"^\| skill \| (.*) \|$", card, re.MULTILINE)
    assert [number(cell) for cell in row.split(" | ")] == pytest.approx(values, abs=0.002)
    assert f"**Warning.** {sentence}" in card and "step 2" in card
