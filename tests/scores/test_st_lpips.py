"""Shift-tolerant LPIPS: the package's own numbers, gradients, and what it refuses."""

import json
import sys

import pytest
import torch
from support.cases import some
from support.goldens import recorded_pairs
from support.paths import GOLDENS

from sgm_lightning import STLPIPS, MinorityScore, SelfGuidance, SGMError
from sgm_lightning.scores.shift_tolerant import ShiftTolerantNetwork

FILES = [json.loads(path.read_text()) for path in sorted(GOLDENS.glob("*.json"))]
CASES = [(file, part) for file in FILES if file.get("kind") == "distance" for part in file["distances"]]
NETS = list(some(("alex", "vgg"), often=(0,)))


def distance_of(net):
    try:
        return STLPIPS(net)
    except SGMError as error:
        pytest.skip(str(error))


def pictures(count, channels=3, size=24, seed=0):
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize(("case", "part"), some(CASES, often=(0, 1, 3, 6)))
def test_distances_equal_the_packages_own(case, part):
    distance = distance_of(case["net"])
    a, b = recorded_pairs(case, part["channels"], part["size"])
    assert float(sum(x.double().abs().sum() for x in (a, b))) == pytest.approx(part["sum_abs"])
    expected = torch.tensor(part["values"])
    assert len(expected) == 20 and float(expected.max()) > 0.1
    with torch.no_grad():
        assert torch.allclose(distance(a, b), expected, rtol=1e-5, atol=1e-6)


def test_every_size_and_both_trunks_are_recorded():
    found = {(case["net"], part["channels"], part["size"]) for case, part in CASES}
    assert found == {(net, channels, size) for net in ("alex", "vgg") for channels in (1, 3) for size in (28, 32, 64)}


@pytest.mark.parametrize(("net", "size"), some([("alex", 21), ("vgg", 18)], often=(0,)))
def test_the_gradient_is_the_derivative(net, size):
    """By finite differences in float64, with respect to both images, on the smallest ones that the trunk takes."""
    distance = distance_of(net).double()
    a, b = (x.requires_grad_() for x in pictures(4, size=size).double().chunk(2))
    assert torch.autograd.gradcheck(distance, (a, b), eps=1e-7, atol=1e-6, rtol=1e-3, fast_mode=True)


@pytest.mark.parametrize("net", NETS)
def test_equal_images_have_no_distance_and_no_gradient(net):
    distance = distance_of(net)
    images = torch.cat([pictures(1), torch.full((1, 3, 24, 24), -1.0), torch.zeros(1, 3, 24, 24)]).requires_grad_()
    found = distance(images, images.detach().clone())
    (gradient,) = torch.autograd.grad(found.sum(), images)
    assert torch.equal(found, torch.zeros(3)) and torch.equal(gradient, torch.zeros_like(images))


def test_pixels_without_any_response_leave_gradients_finite():
    """All activations of a pixel may be zero, where the length of their vector has no derivative."""
    distance = distance_of("alex")
    for layer in distance.network.layers:
        if isinstance(layer, torch.nn.Conv2d):
            layer.bias.sub_(3 * layer.bias.abs().max())
    a, b = pictures(2).chunk(2)
    silent = [float((u == 0).all(1).float().mean()) for u in distance.network.maps(a)]
    assert max(silent) > 0.5
    (gradient,) = torch.autograd.grad(distance(a.requires_grad_(), b).sum(), a)
    assert bool(gradient.isfinite().all())


def test_it_is_frozen_symmetric_and_the_same_in_any_batch():
    distance = distance_of("alex")
    a, b = pictures(8).chunk(2)
    found = distance(a, b)
    assert not found.requires_grad and not distance.network.training
    assert found.shape == (4,) and bool((found > 0).all())
    assert torch.allclose(found, distance(b, a), rtol=1e-6)
    assert torch.allclose(found[1:2], distance(a[1:2], b[1:2]), rtol=1e-5)


def test_a_moved_picture_is_nearer_than_a_noisy_one():
    """At equal L_2 distance: the reason for its name."""
    distance = distance_of("alex")
    a = torch.nn.functional.interpolate(pictures(8, size=5), (40, 40))
    moved = a.roll(1, -1)
    noise = pictures(8, size=40, seed=1)
    noise *= (moved - a).flatten(1).norm(dim=1).view(-1, 1, 1, 1) / noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert bool((2 * distance(a, moved) < distance(a, a + noise)).all())


def test_a_guided_runs_title_names_it():
    assert SelfGuidance(MinorityScore(distance_of("alex"))).title == "self-guided by ST-LPIPS-alex"


def test_images_that_do_not_fit_are_refused():
    distance = distance_of("alex")
    with pytest.raises(SGMError, match="at least 21 × 21 pixels, got 20 × 24; enlarge"):
        distance(*pictures(2)[..., :20, :].chunk(2))
    with pytest.raises(SGMError, match="1 or 3 channels, got 4"):
        distance(*pictures(2, channels=4).chunk(2))


def test_the_packages_code_is_not_imported_and_its_absence_is_told(monkeypatch):
    distance_of("alex")
    assert not [name for name in sys.modules if name.startswith("stlpips_pytorch")]
    monkeypatch.setitem(sys.modules, "stlpips_pytorch", None)
    with pytest.raises(SGMError, match=r"install it with `pip install 'sgm-lightning\[perceptual\]'`\.$"):
        ShiftTolerantNetwork()
