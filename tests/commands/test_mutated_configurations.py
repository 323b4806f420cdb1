"""Mutations of a configuration: each is accepted, or refused in one sentence; none is a fault of ours."""

import random

import pytest
import yaml
from support.mutations import mutated
from support.runs import SHORT, settings

from sgm_lightning.commands.predict import resolve
from sgm_lightning.errors import told

STRANGE = [
    None, True, 0, -1, 10**30, 0.5, float("inf"), "", "text", "\u2028", "~", [], [None], {}, {"a": 1}, [[[]]],
    {"class_path": "torch.nn.Linear"}, {"class_path": ""}, {"class_path": 3}, {"class_path": "nowhere.Nothing"},
    {"class_path": "sgm_lightning.guidance.SelfGuidance", "init_args": []}, {"init_args": {}}, "os.system",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_no_mutation_is_a_fault_of_ours(tmp_path, part):
    source, refused = random.Random(part), 0
    for number in range(40):
        file = tmp_path / f"{number}.yaml"
        file.write_text(yaml.safe_dump(mutated(settings(), source, STRANGE)))
        try:
            resolve(["predict", "--config", str(file), "--run_dir", str(tmp_path / "run"), *SHORT])
        except Exception as error:
            sentence = told(error)
            assert sentence is not None, (file.read_text(), repr(error)[:2000])
            assert "\n" not in str(sentence).strip() and len(str(sentence)) < 2000, sentence
            refused += 1
    assert 10 < refused < 40 and not (tmp_path / "run").exists()
