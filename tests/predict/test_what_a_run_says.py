"""What `predict` prints when a run is finished, and the titles of its sets."""

import numpy as np
import pytest
from support.cases import some
from support.evaluations import with_evaluation
from support.runs import images, predict, settings

from sgm_lightning import ELBOScore, MinorityScore, NoiseLevel, SelfGuidance
from sgm_lightning.predict.score_table import score_table
from sgm_lightning.run import RunDir
from sgm_lightning.scores import Lp, PerComplexity


def row(text, title):
    return next(line for line in text.splitlines() if line.strip().startswith(title)).removeprefix(title).split()


def test_means_and_their_paired_difference():
    scores = {"score": np.array([3.0, 5.0, 7.0]), "baseline_score": np.array([2.0, 3.0, 7.0])}
    text = score_table(scores, "ancestral", "self-guided", "L_2 at log-SNR 0, 1 draw")
    assert row(text, "ancestral") == ["4.0", "±", "1.5", "3"]
    assert row(text, "self-guided") == ["5.0", "±", "1.2", "3"]
    assert row(text, "paired difference") == ["1.00", "±", "0.58", "3"]
    assert text.endswith("The minority score is L_2 at log-SNR 0, 1 draw; ± is a standard error.")
    assert score_table(scores, "ancestral", "ancestral", "c").count("ancestral") == 2  # of a run without a method
    assert row(score_table({"score": np.ones(1)}, "a", "b", "c"), "b") == ["1", "1"]


def test_a_run_says_what_it_measured_and_what_not(tmp_path, spaces, capsys):
    assert predict(tmp_path, config=settings(model__baseline=True)) == 0
    out = capsys.readouterr().out
    scores = RunDir(tmp_path / "run").scores()
    paired = float(row(out, "paired difference")[0])
    assert paired == pytest.approx((scores["score"] - scores["baseline_score"]).mean(), rel=0.05)
    assert "Whether the samples are real was not measured" in out
    assert predict(tmp_path, "measured", with_evaluation(spaces)) == 0
    assert "Whether the samples are real" not in capsys.readouterr().out


def test_variants_of_self_guidance_have_titles_of_their_own():
    scores = {
        "": MinorityScore(),
        " by L_1": MinorityScore(Lp(1.0)),
        " at ratio 0.8 of the chain": MinorityScore(level=NoiseLevel(ratio=0.8)),
        " by L_2 per contrast": MinorityScore(PerComplexity()),
        ", 2 draws": MinorityScore(num_draws=2),
        " by L_1 at ratio 0.8 of the chain": MinorityScore(Lp(1.0), level=NoiseLevel(ratio=0.8)),
        " by ELBOScore": ELBOScore(),
        ", fixed: alternating": MinorityScore(fixed="alternating"),
    }
    for ending, score in scores.items():
        assert SelfGuidance(score).title == f"self-guided{ending}"
    assert SelfGuidance(gradient="jacobian_free").title == "Jacobian-free, self-guided"
    assert SelfGuidance(gradient="finite_difference").title == "finite-difference, self-guided"


WITHOUT_EFFECT = [{"scale": 0.0}, {"rate": 0.0}, {"window": {"start": 0.9, "stop": 0.95}}]


@pytest.mark.parametrize("arguments", some(WITHOUT_EFFECT, often=(2,)), ids=str)
def test_a_guidance_that_acts_nowhere_is_told(tmp_path, arguments):
    with pytest.warns(UserWarning, match="The guidance acts at no step of this chain of 4"):
        assert predict(tmp_path, config=settings(model__guidance__init_args=arguments)) == 0
    assert predict(tmp_path, "plain", settings(model__guidance=None)) == 0
    assert np.array_equal(images(tmp_path), images(tmp_path, "plain"))
