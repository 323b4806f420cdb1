"""Networks made anew with classes, and without."""

import pytest
import torch
from support.trainings import FLAGS

from sgm_lightning import ADMFlags, Condition, SGMError
from sgm_lightning.backbones import NewNetwork
from sgm_lightning.backbones.rebuild import with_classes, without_classes


def test_classes_are_added_and_taken_away_without_changing_the_function():
    backbone = NewNetwork(ADMFlags(**FLAGS)).load()
    torch.nn.init.normal_(backbone.network.conv_out.weight, std=0.1)
    conditional = with_classes(backbone, 3, null_class=True)
    x = torch.randn(3, 1, 8, 8)
    expected = backbone.denoiser()(x, 400).x0_hat
    assert torch.equal(conditional.denoiser()(x, 400, Condition(torch.tensor([0, 2, 3]))).x0_hat, expected)
    torch.nn.init.normal_(conditional.network.class_embedding.weight)
    nothing = conditional.denoiser()(x, 400, Condition(torch.full((3,), 3))).x0_hat
    assert torch.allclose(without_classes(conditional).denoiser()(x, 400).x0_hat, nothing, rtol=1e-4, atol=1e-4)
    for wrong in (lambda: with_classes(conditional, 4, True), lambda: with_classes(backbone, 1, False)):
        with pytest.raises(SGMError, match="num_classes"):
            wrong()
    with pytest.raises(SGMError, match="label dropout"):
        without_classes(backbone)
