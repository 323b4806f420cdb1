"""The lines that tell how far a piece of work has come, where stderr is no terminal."""

import pytest

from sgm_lightning.progress import Progress


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_line_first_then_every_half_minute_and_at_the_end(capsys, clock):
    progress = Progress("Training", 1000, "steps", rate_unit="images", per_unit=16, clock=clock)
    for step in range(1, 1001):
        clock.now += 0.25
        progress.advance(1, f"loss {step}")
    progress.advance(1)  # more than there is
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Training: 1 of 1000 steps, 64 images/s, loss 1, 4 min 09 s left"
    assert lines[1] == "Training: 121 of 1000 steps, 64 images/s, loss 121, 3 min 39 s left"
    assert lines[8] == "Training: 961 of 1000 steps, 64 images/s, loss 961, 9 s left"
    assert lines[9:] == ["Training: 1000 of 1000 steps, 64 images/s, loss 1000"]


def test_what_was_done_before_does_not_count_for_the_rate(capsys, clock):
    progress = Progress("Sampling", 10**6, "images", done=900_000, clock=clock)
    clock.now = 10
    progress.move_to(900_100)
    assert capsys.readouterr().err == "Sampling: 900100 of 1000000 images, 10 images/s, 2 h 46 min left\n"
    progress.move_to(5)
    assert progress.done == 900_100


def test_nothing_is_told_where_nothing_is_done_or_shown(capsys, clock):
    for progress in (Progress("Sampling", 5, "images", done=5, clock=clock), Progress("Sampling", 5, "images", shown=False)):
        progress.move_to(5)
        progress.close()
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(capsys, clock, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress = Progress("Sampling", 8, "images", clock=clock)
    for _ in range(8):
        clock.now += 1
        progress.advance(1, "note")
    progress.close()
    told = capsys.readouterr().err
    assert "Sampling: 100%" in told and "8/8" in told and "1 images/s" in told and "note" in told
