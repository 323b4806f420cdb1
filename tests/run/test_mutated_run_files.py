"""Mutations of the files of a run: they are drawn or merged again, or refused in one sentence; the samples stay the same."""

import json
import random
import shutil

import numpy as np
import pytest
from support.mutations import check_sentence, damaged, damaged_array, limits, mutated, refusal
from support.runs import images, predict, settings

from sgm_lightning.images import RunImages
from sgm_lightning.run import RunDir
from sgm_lightning.run.chunk_file import owner_of, pack
from sgm_lightning.run.claims import Claims
from sgm_lightning.run.manifest import fingerprint

pytestmark = pytest.mark.xdist_group("damaged")
SETTINGS = settings(data__init_args__num_samples=4)


MANIFEST = {"seed": 0, "chunk_size": 2, "threads": 1, "settings": {"model": {"spacing": "4", "list": [1, 2.5, None]}}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    assert predict(folder, "run", SETTINGS) == 0
    return folder / "run"


@pytest.fixture
def run(tmp_path):
    """A run that was written through the interface of its folder."""
    folder = RunDir(tmp_path / "run")
    folder.open({**MANIFEST, "num_samples": 4})
    pictures = np.random.default_rng(0).integers(0, 256, (4, 4, 4, 1), dtype=np.uint8)
    for number in range(2):
        index = np.arange(2 * number, 2 * number + 2)
        folder.write_chunk(number, images=pictures[index], index=index, label=index % 2, score=index.astype(np.float32))
    folder.merge(4, 2)
    return folder.path


def mutations(file, source, count):
    """Writes one mutation of the file after another: of its values where it is JSON, else of its bytes."""
    before = file.read_bytes()
    for number in range(count):
        if file.suffix == ".json" and number % 3:
            new = json.dumps(mutated(json.loads(before), source)).encode()
        else:
            new = damaged(before, source)
        file.write_bytes(new)
        yield new[:1000]


def again(tmp_path, capsys, given, *args):
    """Whether the command ends as it should: the same samples, or status 1 and one sentence."""
    with limits():
        status = predict(tmp_path, "run", SETTINGS, *args)
    error = capsys.readouterr().err
    if status:
        line = error.strip().splitlines()[-1]
        assert status == 1 and line.startswith("error: ") and "Traceback" not in error and "foreseen" not in line, (
            line,
            given,
        )
        check_sentence(line, given)
    return status == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["manifest.json", "merged.json", "scores.csv", "samples.npz", "chunks/chunk-000001.npz"])
def test_the_command_again(finished, tmp_path, capsys, name):
    before, source, ended = images(finished.parent), random.Random(name), 0
    for number in range(12):
        run = shutil.copytree(finished, tmp_path / "run")
        given = next(mutations(run / name, source, 2)) if number % 2 else list(mutations(run / name, source, 2))[-1]
        if name.startswith("chunks"):
            (run / "merged.json").unlink()
        if again(tmp_path, capsys, given):
            if name != "samples.npz":  # whose bytes are looked at where asked
                assert np.array_equal(images(tmp_path), before), given
            ended += 1
        if name != "manifest.json":
            assert again(tmp_path, capsys, given, "--verify", "true") and np.array_equal(images(tmp_path), before), given
        shutil.rmtree(run)
    assert ended if name != "manifest.json" else ended < 12


@pytest.mark.slow
def test_manifests(run):
    """As `predict` reads them, against the manifest of a command that goes on."""
    file, source, refused = run / "manifest.json", random.Random(0), 0
    wanted = json.loads(file.read_text())
    for given in mutations(file, source, 400):
        asked = {**wanted, "num_samples": 8, "threads": None}
        refused += refusal(lambda asked=asked: RunDir(run).open(asked, {"threads": 1}), given) is not None
        file.write_text(json.dumps(wanted))
    assert 100 < refused < 400


@pytest.mark.slow
def test_records_of_the_merge(run):
    file, source, before = run / "merged.json", random.Random(0), (run / "samples.npz").read_bytes()
    whole = file.read_bytes()
    for given in mutations(file, source, 300):
        folder = RunDir(run)

        def merged(folder=folder):
            if not folder.merged(4):
                folder.merge(4, 2)

        assert refusal(merged, given) is None and (run / "samples.npz").read_bytes() == before
        file.write_bytes(whole)


@pytest.mark.slow
def test_claims(run):
    """A claim that says nothing is dead after a while, and any that is dead is taken over."""
    file, source = run / "claims/chunk-000000", random.Random(0)
    assert Claims(run / "claims").take("chunk-000000")
    before = file.read_bytes()
    for number in range(300):
        new = json.dumps(mutated(json.loads(before), source)).encode() if number % 3 else damaged(before, source)
        file.write_bytes(new)
        claims = Claims(run / "claims", stale=0.0)

        def look(claims=claims):
            claims.holder("chunk-000000"), claims.any_alive(), claims.remove_ended()
            claims.take("chunk-000000")
            assert claims.take("chunk-000000") or claims.holds("chunk-000000")
            claims.close()

        assert refusal(look, new) is None
        file.unlink(missing_ok=True)


@pytest.mark.slow
def test_chunks(run):
    """No byte of a chunk changes without being noticed, and the merge names the chunk."""
    file, source = run / "chunks/chunk-000001.npz", random.Random(0)
    before = file.read_bytes()
    for _ in range(300):
        new = damaged(before, source)
        file.write_bytes(new)
        folder = RunDir(run)
        sentence = refusal(lambda folder=folder: damage.extend(folder.merge(4, 2)), new) if (damage := []) == [] else None
        assert sentence is None and (damage == [1] or new == before)


@pytest.mark.slow
def test_chunks_that_are_sealed_but_hold_something_else(run):
    """As a program writes them that knows the seal: damaged, or refused in a sentence."""
    file, source = run / "chunks/chunk-000001.npz", random.Random(0)
    folder = RunDir(run)
    arrays, owner = folder.read_chunk(1), owner_of(fingerprint(folder.manifest()), 1)
    for _ in range(150):
        new = dict(arrays)
        name = source.choice(sorted(new))
        new[name] = damaged_array(new[name], source)
        if source.random() < 0.3:
            del new[source.choice(sorted(new))]
        if any(array.dtype.hasobject for array in new.values()):
            continue
        file.write_bytes(pack(new, owner))
        merged = RunDir(run)
        refusal(lambda merged=merged: merged.merge(4, 2), {key: (array.dtype, array.shape) for key, array in new.items()})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["samples.npz", "scores.csv"])
def test_results(run, name):
    source, refused = random.Random(name), 0
    before = (run / name).read_bytes()

    def read():
        found = RunImages(str(run))
        found.read(range(len(found)))
        folder = RunDir(run)
        list(folder.each_image("samples.npz"))
        assert len(folder.scores()["score"]) == len(found)

    for given in mutations(run / name, source, 200):
        refused += refusal(read, given) is not None
        (run / name).write_bytes(before)
    assert refused > 50


def test_a_few_of_each_kind(run):
    """What the default suite tries of all of this."""
    source, whole = random.Random(3), json.loads((run / "manifest.json").read_text())
    for given in mutations(run / "manifest.json", source, 20):
        refusal(lambda: RunDir(run).open({**MANIFEST, "num_samples": 8, "threads": None}, {"threads": 1}), given)
        (run / "manifest.json").write_text(json.dumps(whole))
    before = (run / "samples.npz").read_bytes()
    for given in mutations(run / "merged.json", source, 10):
        assert refusal(lambda: RunDir(run).merged(4) or RunDir(run).merge(4, 2), given) is None
        assert (run / "samples.npz").read_bytes() == before
