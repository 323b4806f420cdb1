"""Beta schedules and respaced chains, against the released numbers."""

import json

import pytest
from support.paths import GOLDENS

from sgm_lightning import SGMError
from sgm_lightning.diffusion import make_betas, spaced_steps

SCHEDULES = json.loads((GOLDENS / "schedules.json").read_text())


@pytest.mark.parametrize("name", SCHEDULES["beta_schedules"])
def test_betas(name):
    schedule, steps = name.split("_")
    expected = SCHEDULES["beta_schedules"][name]
    betas = make_betas(schedule, int(steps))
    assert betas[:5].tolist() == pytest.approx(expected["first"], rel=1e-12)
    assert betas[-5:].tolist() == pytest.approx(expected["last"], rel=1e-12)
    assert float(betas.sum()) == pytest.approx(expected["sum"], rel=1e-12)
    assert float((1 - betas).prod()) == pytest.approx(expected["alphas_cumprod_last"], rel=1e-9)


@pytest.mark.parametrize("name", SCHEDULES["respacing"])
def test_respacing(name):
    steps, spacing = name.split(":")
    assert spaced_steps(int(steps), spacing) == SCHEDULES["respacing"][name]


@pytest.mark.parametrize("spacing", ["ddim400", "1001", "0", "a few", "600,600"])
def test_impossible_spacings_are_refused(spacing):
    with pytest.raises(SGMError):
        spaced_steps(1000, spacing)
