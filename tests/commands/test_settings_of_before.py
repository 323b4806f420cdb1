"""Settings of version 0.1 as they were shipped then: each gets a sentence with the new name."""

import pytest
import yaml

from sgm_lightning.commands.parsing import command_line
from sgm_lightning.errors import SGMError

GUIDANCE = "sgm_lightning.guidance"
LP = {"class_path": f"{GUIDANCE}.Lp"}
ELBO = {"class_path": f"{GUIDANCE}.ELBOGuidance", "init_args": {"scale": 0.5, "interval": 5, "min_log_snr": -4.0}}
WINDOW = {
    "class_path": f"{GUIDANCE}.Window",
    "init_args": {"guidance": {"class_path": f"{GUIDANCE}.ParticleGuidance"}, "start_ratio": 0.3},
}
BEST = {"class_path": "BestOf", "init_args": {"score": {"class_path": "SelfGuidance", "init_args": {"distance": LP}}}}


@pytest.mark.parametrize(
    ("part", "old", "told"),
    [
        ("guidance", ELBO, "ELBOGuidance is now SelfGuidance with `score: {class_path: ELBOScore}`"),
        ("guidance", WINDOW, "Window's `guidance` is no longer wrapped: give that guidance `window:"),
        ("sampler", BEST, "BestOf's `score` is now a MinorityScore: give `score:"),
    ],
)
def test_what_has_no_single_new_name_is_told(part, old, told):
    for command, config in (("predict", {"model": {part: old}}), ("compare", {"settings": {"a": {"model": {part: old}}}})):
        with pytest.raises(SGMError) as error, command_line([command, f"--config={yaml.safe_dump(config)}"]):
            pass
        assert told in str(error.value)


def test_a_window_of_now_is_no_old_one():
    new = {"class_path": f"{GUIDANCE}.SelfGuidance", "init_args": {"window": {"start": 0.3, "interval": 2}}}
    best = {"class_path": "BestOf", "init_args": {"score": {"num_draws": 2}}}
    with command_line(["predict", f"--config={yaml.safe_dump({'model': {'guidance': new, 'sampler': best}})}"]):
        pass
