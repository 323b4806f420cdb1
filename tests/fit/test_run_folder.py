"""The folder of a training: whatever ends it leaves its state, one process owns it, and its settings stay."""

import io
import json
import os
import time

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from support.runs import predict
from support.runs import settings as predict_settings
from support.trainings import QUICK, fit, grays, same, settings, state

from sgm_lightning.fit import TrainingRun

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return grays(tmp_path_factory.mktemp("data"))


class StopsAtThree(Callback):
    def on_train_batch_end(self, trainer, *args):
        trainer.should_stop = trainer.global_step == 3


class Disowned(Callback):
    """Does what another process does that takes the folder over, at step 2."""

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == 2:
            writer = next(callback for callback in trainer.callbacks if isinstance(callback, TrainingRun))
            file = writer.path / "claims" / "owner"
            file.write_text(json.dumps({**json.loads(file.read_text()), "token": "another"}))


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        pytest.param({"trainer__max_time": {"seconds": 1}, "trainer__max_steps": 100_000}, None, marks=pytest.mark.slow),
        pytest.param({"trainer__limit_train_batches": 3, "trainer__max_epochs": 2}, 6, marks=pytest.mark.slow),
        ({"trainer__callbacks": [{"class_path": f"{__name__}.StopsAtThree"}]}, 3),
    ],
    ids=["max_time", "max_epochs", "callback"],
)
def test_every_end_leaves_the_state(tmp_path, folder, changes, steps):
    config = settings(folder, **QUICK, model__dropout=0.0)
    assert fit(tmp_path, settings(folder, **QUICK, model__dropout=0.0, **changes)) == 0
    reached = state(tmp_path)["global_step"]
    assert reached == steps or (steps is None and 0 < reached < 100_000)
    assert not list((tmp_path / "run/claims").iterdir())
    if steps == 6:
        assert fit(tmp_path, config) == 0 and fit(tmp_path, config, "whole") == 0
        same(state(tmp_path), state(tmp_path, "whole"))


@pytest.mark.parametrize("steps", [True, 2])
def test_a_development_run_leaves_nothing(tmp_path, folder, steps):
    """Whatever the training's warm-up, which is longer than the steps that are tried."""
    longer = {**QUICK, "model__warmup_steps": 10, "trainer__max_steps": 60}
    assert fit(tmp_path, settings(folder, **longer, trainer__fast_dev_run=steps)) == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"trainer__overfit_batches": 2}, "trainer.overfit_batches must be 0"),
        ({"trainer__max_epochs": 3}, "set `trainer.max_steps: 9` for as many passes"),
        ({"data__init_args__value_range": [0.0, float("nan")]}, "must not be NaN, got data.init_args.value_range: nan"),
    ],
)
def test_settings_without_an_effect_are_refused(tmp_path, folder, capsys, changes, says):
    assert fit(tmp_path, settings(folder, **QUICK, **changes)) == 1
    assert says in capsys.readouterr().err and not (tmp_path / "run/last.ckpt").exists()


REFUSED = [
    ({"data__init_args__seed": 1}, "settings.data.init_args.seed: 0 → 1"),
    ({"data__init_args__batch_size": 2}, "images_per_step: 4 → 2"),
    ({"data__init_args__flip": True}, "settings.data.init_args.flip: False → True"),
    ({"data__init_args__held_out_share": 0.5}, "held_out_share: 0.25 → 0.5"),
    ({"model__dropout": 0.0}, "settings.model.dropout: 0.1 → 0.0"),
    ({"model__num_classes": 2}, "pictures have none"),
    ({"average__decay": 0.5}, "settings.average.decay: 0.9 → 0.5"),
]


@pytest.mark.slow
def test_what_a_resumed_training_may_change(tmp_path, folder, capsys):
    assert fit(tmp_path, settings(folder, **QUICK, trainer__max_steps=2)) == 0
    written = (tmp_path / "run/last.ckpt").read_bytes()
    for changes, says in REFUSED:
        assert fit(tmp_path, settings(folder, **QUICK, trainer__max_steps=4, **changes)) == 1
        assert says in capsys.readouterr().err and (tmp_path / "run/last.ckpt").read_bytes() == written
    half = {"data__init_args__batch_size": 2, "trainer__accumulate_grad_batches": 2}  # as many pictures a step
    free = {"trainer__max_steps": 3, "trainer__gradient_clip_val": 0.5, "writer__save_every": 1}
    assert fit(tmp_path, settings(folder, **{**QUICK, **half, **free})) == 0
    assert state(tmp_path)["global_step"] == 3


def zeroed(data):
    return data[: len(data) // 3] + bytes(len(data) // 3) + data[2 * (len(data) // 3) :]


def saved(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


DAMAGED = [
    ("cut", lambda data: data[: len(data) // 2]),
    ("zeroed inside", zeroed),
    ("empty", lambda data: b""),
    ("text", lambda data: b"not a checkpoint"),
    ("a list", lambda data: saved([1, 2])),
    ("of something else", lambda data: saved({"weights": torch.zeros(2)})),
    ("without its optimizer", lambda data: saved(without(data, "optimizer_states"))),
    ("without its schedule", lambda data: saved(without(data, "lr_schedulers"))),
    ("without its loops", lambda data: saved(without(data, "loops"))),
    ("without its weights", lambda data: saved(without(data, "state_dict"))),
]


def without(data, key):
    content = torch.load(io.BytesIO(data), weights_only=False)
    content.pop(key)
    return content


@pytest.mark.slow
def test_a_damaged_state_is_refused_and_stays(tmp_path, folder, capsys):
    """One sentence that names the file, whatever is wrong with it; the file is the user's to repair."""
    assert fit(tmp_path, settings(folder, **QUICK, trainer__max_steps=2)) == 0
    file = tmp_path / "run/last.ckpt"
    whole = file.read_bytes()
    for name, damage in DAMAGED:
        data = damage(whole)
        file.write_bytes(data)
        capsys.readouterr()
        status = fit(tmp_path, settings(folder, **QUICK, trainer__max_steps=4))
        error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert status == 1 and len(error) == 1 and "last.ckpt" in error[0] and len(error[0]) < 600, (name, status, error)
        assert "not foreseen" not in error[0] and file.read_bytes() == data, name
    file.write_bytes(whole)
    assert fit(tmp_path, settings(folder, **QUICK, trainer__max_steps=4)) == 0
    assert state(tmp_path)["global_step"] == 4


def test_a_folder_belongs_to_one_command(tmp_path, folder, capsys):
    assert fit(tmp_path, settings(folder, **QUICK, trainer__max_steps=1)) == 0
    config = (tmp_path / "run/config.yaml").read_bytes()
    assert predict(tmp_path, "run", predict_settings()) == 1
    assert "holds a run of `fit`, got `predict`" in capsys.readouterr().err
    assert (tmp_path / "run/config.yaml").read_bytes() == config
    assert predict(tmp_path, "drawn", predict_settings()) == 0
    assert fit(tmp_path, settings(folder, **QUICK), "drawn") == 1
    assert "holds a run of `predict`, got `fit`" in capsys.readouterr().err


def test_a_second_owner_is_refused(tmp_path, folder, capsys):
    """The other one lives: it is this process's parent."""
    from sgm_lightning.files.process import current, started

    me, parent = current(), os.getppid()
    owner = {"host": me.host, "pid": parent, "started": started(parent), "job": "", "restart": 0, "token": "another"}
    (tmp_path / "run/claims").mkdir(parents=True)
    (tmp_path / "run/claims/owner").write_text(json.dumps(owner))
    assert fit(tmp_path, settings(folder, **QUICK)) == 1
    assert f"must have one owner, and process {parent} is at work in it" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "run").rglob("*")) == ["claims", "owner"]


def test_a_folder_taken_over_is_not_written(tmp_path, folder, capsys):
    callbacks = [{"class_path": f"{__name__}.Disowned"}]
    assert fit(tmp_path, settings(folder, **{**QUICK, "writer__save_every": 1}, trainer__callbacks=callbacks)) == 1
    assert "has another owner" in capsys.readouterr().err
    assert state(tmp_path)["global_step"] == 1 and (tmp_path / "run/claims/owner").exists()
    assert not list((tmp_path / "run").glob(".*.tmp"))


def test_a_frozen_owner_loses_its_folder(tmp_path):
    from sgm_lightning import SGMError
    from sgm_lightning.run import Claims
    from sgm_lightning.run.owner import Owner

    quick = {"heartbeat": 0.05, "stale": 0.4}
    frozen = Owner(tmp_path, Claims(tmp_path / "claims", heartbeat=1000))
    frozen.take()
    os.utime(tmp_path / "claims/owner", (0, 0))  # long ago
    begun, told = time.monotonic(), []
    second = Owner(tmp_path, Claims(tmp_path / "claims", **quick))
    second.take(tell=told.append)
    assert 0.4 < time.monotonic() - begun < 5 and len(told) == 1 and "still lives" in told[0]
    with pytest.raises(SGMError, match="has another owner"):
        frozen.check()
    frozen.close()  # leaves the second one's claim
    second.check()
    second.close()
    assert not list((tmp_path / "claims").iterdir())
