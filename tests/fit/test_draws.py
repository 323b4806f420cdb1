"""What is drawn when: positions, passes over the data, and settings of the data."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.pictures import labelled

from sgm_lightning import SGMError
from sgm_lightning.fit.data import TrainingData
from sgm_lightning.fit.draws import Draws, Positions
from sgm_lightning.images.crop import Square
from sgm_lightning.images.squares import Squares

pytestmark = pytest.mark.usefixtures("own_cache")


def positions(batch, rank, world, start=0, accumulate=1, steps=5):
    trainer = SimpleNamespace(
        max_steps=steps, accumulate_grad_batches=accumulate, global_step=start, global_rank=rank, world_size=world
    )
    return list(Positions(trainer, batch))


def test_what_is_drawn_depends_on_the_position_alone():
    one = positions(4, 0, 1)
    two = [[*a, *b] for a, b in zip(positions(2, 0, 2), positions(2, 1, 2), strict=True)]
    gathered = positions(2, 0, 1, accumulate=2)
    assert one == two == [[*a, *b] for a, b in zip(gathered[::2], gathered[1::2], strict=True)]
    assert positions(4, 0, 1, start=3) == one[3:]
    draws = Draws(Squares(labelled([7]), Square(4, 1, flip=True)), np.arange(7), seed=3)
    whole, parts = draws.__getitems__(one[2]), [draws.__getitems__(batch) for batch in (two[2][:2], two[2][2:])]
    for field in ("images", "labels", "noise", "step", "drop", "indices"):
        assert torch.equal(getattr(whole, field), torch.cat([getattr(part, field) for part in parts]))
    values = draws.__getitems__(list(range(7_000))).noise
    assert abs(float(values.mean())) < 0.01 and abs(float(values.std()) - 1) < 0.01


def test_every_pass_sees_every_picture_once():
    draws = Draws(Squares(labelled([7]), Square(4, 1)), np.arange(7), seed=3)
    rows = [draws.order[position] for position in range(21)]
    assert all(sorted(rows[i : i + 7]) == list(range(7)) for i in (0, 7, 14)) and rows[:7] != rows[7:14]
    assert rows != [Draws(draws.squares, np.arange(7), seed=4).order[position] for position in range(21)]


def test_bad_settings():
    source = labelled([4])
    for wrong in ({"batch_size": 0}, {"held_out_share": 1.0}, {"channels": 2}, {"seed": -1}, {"max_broken": -1}):
        with pytest.raises(SGMError, match=next(iter(wrong))):
            TrainingData(source, **wrong)
