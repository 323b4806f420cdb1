"""Files that are said to hold a classifier: what cannot be meant is refused by name, soon, and before memory is taken."""

import json
import math
import random

import pytest
import torch
from safetensors.torch import save_file
from support.cases import some
from support.classifiers import TINY
from support.mutations import REMOVED, STRANGE, TENSORS, damaged, deep, mutated, refusal, torch_save

from sgm_lightning.classifiers import ClassifierFlags, NewClassifier, StackedClassifier, TrainedClassifier, save_classifier
from sgm_lightning.classifiers.description import description
from sgm_lightning.classifiers.trained import KEY

HEAD = {**TINY, "image_size": 4, "in_channels": 32, "channel_mult": "1"}
PART = ("classifier",)
FLAGS = (*PART, "extractor", "flags")


def cases(path, values, says):
    return [(path, value, says) for value in values]


def tower(depth):
    """A description of as many classifiers, each on the features of the next."""
    text = {"kind": "encoder", "flags": TINY}
    for _ in range(depth):
        text = {"kind": "stacked", "extractor": text, "head": {"kind": "encoder", "flags": HEAD}}
    return text


NO_MAPPING = ([], None, 3, "text", {}, deep(500))
WRONG = (0, -2, 10**9, None, "x", [1], math.nan, 1.5, True)
CASES = [
    *cases((), [*NO_MAPPING, {"classifier": 3, "chain": None, "more": 1}], "description"),
    *cases(PART, [*NO_MAPPING, {"kind": "other"}, {"kind": "encoder"}, {"kind": "stacked"}, {"kind": []}], "description"),
    *cases(PART, [tower(8), tower(400)], "at most 4 classifiers deep"),
    *cases((*PART, "extractor"), [*NO_MAPPING, REMOVED], "description"),
    *cases(FLAGS, [[], None, 3, "x", deep(500), {"more": 1}], "flags"),
    *[
        (*case, name)
        for name in TINY
        if isinstance(TINY[name], int)
        for case in [((*FLAGS, name), value) for value in WRONG]
    ],
    *cases((*FLAGS, "image_size"), [10**5], "image_size"),
    *cases((*FLAGS, "image_size"), [16384], "The head takes"),
    *cases((*FLAGS, "out_channels"), [10**7], "has shape"),
    *cases((*FLAGS, "classifier_width"), [16384], "The head takes"),
    *cases((*FLAGS, "classifier_width"), [48], "multiple of 32"),
    *cases((*FLAGS, "classifier_depth"), [16384], "classifier_depth"),
    *cases((*FLAGS, "channel_mult"), ["0", "nan", "inf", "-1,1", "x", "1," * 10**5 + "1"], "channel_mult"),
    *cases((*FLAGS, "channel_mult"), [None, 1, ["1"]], "channel_mult"),
    *cases((*FLAGS, "classifier_attention_resolutions"), ["0", "x", None, 4], "attention_resolutions"),
    *cases((*FLAGS, "classifier_pool"), [None, "no", 3, ["adaptive"]], "classifier_pool"),
    *cases((*FLAGS, "classifier_use_fp16"), [None, "no", 3], "classifier_use_fp16"),
    *cases((*FLAGS, "dropout"), [None, "no", math.nan, 10**400], "dropout"),
    *cases(("chain",), [[], 3, "cosine", {}, ["cosine"], ["cosine", 1000, 1], deep(500), REMOVED], "chain"),
    *cases(("chain",), [["cosine", steps] for steps in ("x", 0, -1, 10**9, math.nan, 1e3, None, True)], "chain"),
    *cases(("chain",), [[name, 1000] for name in ("no", None, 3, ["cosine"])], "noise schedule"),
]


def stacked():
    classifier = StackedClassifier(
        NewClassifier(ClassifierFlags(**TINY)), NewClassifier(ClassifierFlags(**HEAD), seed=1)
    ).load()
    classifier.chain = ("cosine", 1000)
    return classifier


@pytest.fixture(scope="module")
def content():
    classifier = stacked()
    weights = {f"classifier.{name}": value for name, value in classifier.state_dict().items()}
    return {"state_dict": weights, "global_step": 3, KEY: json.loads(json.dumps(description(classifier)))}


def changed(tree, path, value):
    """The tree with another value in one place; what is beside it is shared."""
    if not path:
        return value
    inside = dict(tree)
    if value is REMOVED and len(path) == 1:
        del inside[path[0]]
    else:
        inside[path[0]] = changed(inside.get(path[0]), path[1:], value)
    return inside


def write(content, file):
    """Both kinds of files that hold a classifier."""
    if file.suffix == ".ckpt":
        torch_save(content, file)
        return
    weights = {name.removeprefix("classifier."): value for name, value in content["state_dict"].items()}
    save_file(weights, file, {KEY: json.dumps(content[KEY])})


def refused(file):
    sentence = refusal(TrainedClassifier(str(file)).load)
    assert sentence is not None
    return sentence


@pytest.mark.parametrize("name", ["last.ckpt", "classifier.safetensors"])
@pytest.mark.parametrize(("path", "value", "says"), some(CASES, every=60))
def test_what_cannot_be_meant_is_refused_by_name(content, tmp_path, path, value, says, name):
    write(changed(content, (KEY, *path), value), tmp_path / name)
    assert says in refused(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "says"),
    some([("[" * 100_000, "valid JSON"), ("{", "valid JSON"), ("", "valid JSON"), ("7", "description")], often=(0,)),
    ids=["deep", "cut", "empty", "number"],
)
def test_headers_that_are_none(content, tmp_path, text, says):
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", {KEY: text})
    assert says in refused(tmp_path / "x.safetensors")


WEIGHT = "classifier.extractor.body.conv_in.weight"
SHAPE = (32, 1, 3, 3)


@pytest.mark.parametrize(
    ("value", "says"),
    some(
        [
            (REMOVED, "it lacks extractor.body.conv_in.weight"),
            (torch.zeros(3), "has shape (3,)"),
            (torch.zeros(SHAPE, dtype=torch.int64), "holds torch.int64"),
            (torch.zeros(SHAPE, dtype=torch.int8), "must be floating-point numbers"),
            (torch.full(SHAPE, math.nan), "NaN or infinite"),
            (torch.zeros(SHAPE, device="meta"), "must be floating-point numbers"),
            (torch.zeros(1).expand(10**10), "not as many numbers"),
            (None, "must be a tensor"),
        ],
        often=(2,),
    ),
)
def test_weights_that_do_not_fit_are_refused(content, tmp_path, value, says):
    write(changed(content, ("state_dict", WEIGHT), value), tmp_path / "last.ckpt")
    assert says in refused(tmp_path / "last.ckpt")
    write(changed(content, ("state_dict", "classifier.more"), torch.zeros(1)), tmp_path / "last.ckpt")
    assert "it has more too many" in refused(tmp_path / "last.ckpt")


def answers(file):
    """Load a classifier, and ask it at both ends of its chain."""
    classifier = TrainedClassifier(str(file)).load()
    with torch.no_grad():
        logits = classifier(torch.zeros(2, *classifier.image_shape), torch.tensor([0, 999]))
    assert logits.shape == (2, classifier.num_classes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["values", "bytes"])
@pytest.mark.parametrize("name", ["last.ckpt", "classifier.safetensors"])
def test_mutations(content, tmp_path, name, kind):
    file, source, done = tmp_path / name, random.Random(f"{name} {kind}"), 0
    write(content, file)
    answers(file)
    whole = file.read_bytes()
    for _ in range(150):
        if kind == "bytes":
            given = damaged(whole, source)
            file.write_bytes(given)
        elif file.suffix == ".ckpt" and source.random() < 0.3:
            given = mutated(content["state_dict"], source, STRANGE + TENSORS)
            write({**content, "state_dict": given}, file)
        else:
            given = mutated({KEY: content[KEY]}, source, [*STRANGE, "1,1,1", "attention", "spatial", 2, 64])
            write({**content, KEY: given.get(KEY)}, file)
        done += refusal(lambda: answers(file), given if kind == "values" else given[:300]) is not None
    assert 50 < done <= 150


def test_the_right_file_is_read(content, tmp_path):
    save_classifier(stacked(), tmp_path / "classifier.safetensors")
    write(content, tmp_path / "last.ckpt")
    for name in ("last.ckpt", "classifier.safetensors"):
        found = TrainedClassifier(str(tmp_path / name)).load()
        assert found.chain == ("cosine", 1000)
        assert all(
            torch.equal(value, content["state_dict"][f"classifier.{key}"]) for key, value in found.state_dict().items()
        )
