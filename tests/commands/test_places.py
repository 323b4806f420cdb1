"""Where a value that is not accepted was given: file and line, or the option; nothing where that is not certain."""

import pytest
import yaml
from PIL import Image
from support.cases import some
from support.runs import settings

from sgm_lightning.cli import main
from sgm_lightning.commands.places import place_of

GUIDANCE = """\
model:
  guidance:
    class_path: SelfGuidance
    init_args:
      scale: abc
      window: {start: 5}
trainer:
  callbacks:
  - class_path: A
    init_args: {share: 1}
  - class_path: B
    init_args:
      share: 2.0
model.score.num_draws: 0
"""


@pytest.mark.parametrize(
    ("key", "value", "more", "place"),
    [
        ("model.guidance.scale", None, [], "FILE, line 5"),
        ("model.guidance.window.start", None, [], "FILE, line 6"),
        ("model.guidance.class_path", None, [], "FILE, line 3"),
        ("model.score.num_draws", None, [], "FILE, line 14"),
        ("trainer.callbacks.share", "2", [], "FILE, line 13"),
        ("trainer.callbacks.share", None, [], None),  # of which element?
        ("trainer.callbacks.share", "3", [], None),
        ("model.scale", None, [], None),
        ("scale", None, [], None),
        # Later ones win.
        ("model.guidance.scale", None, ["--model.guidance.scale", "2"], "--model.guidance.scale"),
        ("model.guidance.scale", None, ["--model.guidance.init_args.scale=2"], "--model.guidance.init_args.scale"),
        ("model.guidance.scale", None, ["--model.guidance", "{init_args: {scale: 2}}"], "--model.guidance"),
        ("model.guidance.scale", None, ["--model.guidance", "SelfGuidance"], "FILE, line 5"),
        ("model.guidance.class_path", None, ["--model.guidance", "SelfGuidance"], "--model.guidance"),
        ("model.guidance.class_path", None, ["--config", "model: {guidance: SelfGuidance}"], "--config"),
        ("model.guidance.scale", None, ["--config", "{model: {guidance: {scale: 2}}}"], "--config"),
        ("model.guidance.scale", None, ["--model.guidance.scaler", "2"], "FILE, line 5"),
    ],
)
def test_the_last_place_counts(tmp_path, key, value, more, place):
    file = tmp_path / "run.yaml"
    file.write_text(GUIDANCE)
    earlier = tmp_path / "earlier.yaml"
    earlier.write_text("\n\n\n\n\n\n\nmodel: {guidance: {init_args: {scale: 3}}}\n")
    args = ["predict", "--model.guidance.scale", "0", "-c", str(earlier), f"--config={file}", *more]
    assert place_of(key, args, value) == (place and place.replace("FILE", str(file)))


@pytest.mark.parametrize("text", ["&a {b: *a, init_args: *a, x: [*a]}", "[", "", "- 1", "x: &b {scale: 1}\ny: {<<: *b}"])
def test_any_file_may_be_searched(tmp_path, text):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    for loose in (False, True):
        assert place_of("q.scale", ["predict", "-c", str(file)], None, loose) is None
    assert place_of("y.scale", ["predict", "-c", str(file)]) == (f"{file}, line 1" if "scale" in text else None)


def lines(file, text):
    """The number of the line that holds a text."""
    return next(number for number, line in enumerate(file.read_text().splitlines(), 1) if text in line)


REFUSED = [
    ({"model__guidance__init_args__window__interval": 0}, "interval must be at least 1, got 0 (FILE, line LINE);"),
    ({"model__guidance__init_args__scale": "abc"}, "model.guidance.scale must be a number, got abc (FILE, line LINE);"),
    ({"data__init_args__num_samples": -3}, "1 and 1000000000, got -3 (FILE, line LINE);"),
    ({"model__threads": 0}, "threads must lie between 1 and 1024, got 0 (FILE, line LINE);"),
    ({"model__score__num_draws": 0}, "got 0 (FILE, line LINE);"),
    ({"model__score__level": {"log_snr": 1000.0}}, "got 1000.0 (FILE, line LINE);"),
    ({"writer__grid_images": 0}, "got 0 (FILE, line LINE);"),
    ({"trainer__max_epochs": "x"}, "trainer.max_epochs must be a whole number, got x (FILE, line LINE);"),
]


@pytest.mark.parametrize(("change", "says"), some(REFUSED, often=(0, 1, 2)), ids=[next(iter(c)) for c, _ in REFUSED])
def test_a_value_in_a_file(tmp_path, capsys, change, says):
    file, later = tmp_path / "run.yaml", tmp_path / "later.yaml"
    file.write_text(yaml.safe_dump(settings(**change)))
    later.write_text("data: {init_args: {seed: 1}}\n")
    assert main(["predict", "-c", str(file), "-c", str(later), "--run_dir", str(tmp_path / "run")]) in (1, 2)
    value = next(iter(change)).rpartition("__")[2]
    line = lines(file, "log_snr" if value == "level" else f"{value}:")
    assert says.replace("FILE", str(file)).replace("LINE", str(line)) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--model.guidance.window.interval", "0"], "got 0 (--model.guidance.window.interval);"),
        (["--data.num_samples", "0"], "got 0; set `data.num_samples`."),
    ],
)
def test_a_value_on_the_command_line(tmp_path, capsys, given, says):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(settings(model__guidance__init_args__window={"interval": 1})))
    assert main(["predict", "-c", str(file), *given, "--run_dir", str(tmp_path / "run")]) == 1
    assert says in capsys.readouterr().err


@pytest.mark.slow
def test_of_two_guidances_the_one_that_is_refused(tmp_path, capsys):
    both = [{"class_path": "SelfGuidance", "init_args": {"scale": 1, "window": {"start": start}}} for start in (0.5, 5)]
    file = tmp_path / "run.yaml"
    text = yaml.safe_dump(settings(model__guidance={"class_path": "Together", "init_args": {"guidances": both}}))
    file.write_text(text)
    assert main(["predict", "-c", str(file), "--run_dir", str(tmp_path / "run")]) == 1
    assert f"got 5.0 ({file}, line {lines(file, 'start: 5')});" in capsys.readouterr().err


def test_a_function_of_its_own_arguments(tmp_path, capsys):
    file = tmp_path / "run.yaml"
    file.write_text("output: x.safetensors\nbatch_size: 0\n")
    assert main(["score", "--config", "fashion_mnist", "--config", str(file)]) == 1
    assert f"batch_size must be at least 1, got 0 ({file}, line 2)." in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--data.root", "FOLDER"], "FOLDER; check the path (--data.root)."),
        (["--data.batch_size", "0"], "batch_size must be at least 1, got 0; set `data.batch_size`."),
        (["--config", "{data: {init_args: {batch_size: 0}}}"], "batch_size must be at least 1, got 0 (--config);"),
        (["--model.label_dropout", "3"], "label_dropout must lie in [0, 1), got 3.0 (--model.label_dropout);"),
    ],
)
def test_values_of_a_training(tmp_path, capsys, more, says):
    folder = str(tmp_path / "nothing")
    Image.new("L", (28, 28)).save(tmp_path / "a.png")
    args = ["fit", "--config", "finetune_folder", "--data.root", str(tmp_path), "--run_dir", str(tmp_path / "run")]
    assert main([*args, *(arg.replace("FOLDER", folder) for arg in more)]) == 1
    assert says.replace("FOLDER", folder) in capsys.readouterr().err
