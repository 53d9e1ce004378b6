"""Images and labels exchanged under their names and sizes: noticed by their contents, named, and never mixed."""

import functools
import hashlib
import json
import shutil
from dataclasses import replace

import pytest
import yaml
from support.fake_runs import plan_for, results

from yolo_attn import cli
from yolo_attn.compare import contents, driver, run_folder
from yolo_attn.compare import results as compare_results
from yolo_attn.compare.contents import Contents, read_data
from yolo_attn.compare.plan import specs_of
from yolo_attn.errors import YoloAttnError

RUNS = ["yolo11n-0", "yolo11n-ela-0", "yolo11n-1", "yolo11n-ela-1"]


@pytest.fixture
def data(scenes, tmp_path, monkeypatch):
    """Data YAML of a set of its own; results have few bootstrap samples."""
    monkeypatch.setattr(compare_results, "write", functools.partial(compare_results.write, replicates=20))
    root = tmp_path / "set"
    shutil.copytree(scenes.parent, root)
    for file in root.glob("*.yaml"):
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "path": str(root)}))
    return root / scenes.name


def exchange(data, split="val", which=3, kind="images"):
    """Change one byte of an image or a label file, and return the name of the image."""
    file = sorted((data.parent / kind / split).iterdir())[which]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x01
    file.unlink()  # a link to an image of the set it came from
    file.write_bytes(content)
    return f"{file.stem}.jpg"


def compared(data, out, faked, **kwargs):
    """Compare, and return what was said and which runs were carried out."""
    said, faked.done = [], []
    driver.compare(plan_for(data, **kwargs.pop("plan", {})), out, log=said.append, **kwargs)
    return "\n".join(said), faked.done


@pytest.mark.parametrize("split", [pytest.param("train", marks=pytest.mark.slow), "val"])
def test_an_exchanged_image_makes_the_runs_again_and_is_named(data, faked, tmp_path, split):
    assert compared(data, tmp_path / "out", faked)[1] == RUNS
    assert compared(data, tmp_path / "out", faked)[1] == []
    name, total = exchange(data, split), len(list((data.parent / "images" / split).iterdir()))
    said, done = compared(data, tmp_path / "out", faked)
    assert done == RUNS
    assert f"which are not used: 1 of {total} {split} images have other contents, e.g. {name}" in said
    said, done = compared(data, tmp_path / "out", faked)
    assert done == []
    assert "not used" not in said
    assert results(tmp_path / "out")["runs"]["complete"] == 4
    assert len(results(tmp_path / "out")["protocol"]["images_checksum"]) == 64
    assert "images, checksum" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.slow
def test_labels_names_and_new_images_are_said(data, faked, tmp_path):
    compared(data, tmp_path / "out", faked)

    def said():
        found, done = compared(data, tmp_path / "out", faked)
        assert done == RUNS
        return found.partition("not used: ")[2].splitlines()[0]

    label = next(k for k, f in enumerate(sorted((data.parent / "labels" / "val").iterdir())) if f.read_text())
    file = sorted((data.parent / "labels" / "val").iterdir())[label]
    file.write_text("0 0.5 0.5 0.25 0.25\n")
    assert said() == f"1 of 8 val labels have other contents, e.g. {file.stem}.jpg"
    shutil.copy(data.parent / "images" / "val" / f"{file.stem}.jpg", data.parent / "images" / "val" / "new.jpg")
    assert said() == "1 of 9 val images are new, e.g. new.jpg"
    (data.parent / "images" / "val" / "new.jpg").rename(data.parent / "images" / "val" / "newer.jpg")
    assert said() == "1 of 9 val images are new, e.g. newer.jpg; 1 of 9 val images are not there, e.g. new.jpg"
    content = yaml.safe_load(data.read_text())
    data.write_text(yaml.safe_dump({**content, "names": {k: f"other {n}" for k, n in content["names"].items()}}))
    assert said() == "the classes have other names"
    shutil.rmtree(tmp_path / "out" / "data")
    (data.parent / "images" / "val" / "newer.jpg").unlink()
    assert said() == "names or sizes of images, labels, or names of classes differ"


@pytest.mark.slow
def test_a_moved_set_is_the_same(data, faked, tmp_path):
    compared(data, tmp_path / "out", faked)
    root = data.parent.rename(tmp_path / "moved")
    moved = root / data.name
    moved.write_text(yaml.safe_dump({**yaml.safe_load(moved.read_text()), "path": str(root)}))
    for file in root.glob("labels/*.cache"):
        file.unlink()
    assert compared(moved, tmp_path / "out", faked)[1] == []


def forget(data, out):
    """Make the runs of a folder those of the time before contents of images were recorded."""
    plan = json.loads((out / "plan.json").read_text())
    plan["runs"] = [replace(spec, images_checksum=None).folder_name for spec in specs_of(plan_for(data))]
    for folder in list((out / "runs").iterdir()):
        spec = json.loads((folder / run_folder.SPEC).read_text())
        del spec["images_checksum"]
        old = run_folder.RunSpec(**spec)
        run_folder.write_json(folder / run_folder.SPEC, spec)
        result = json.loads((folder / run_folder.RESULT).read_text())
        run_folder.write_json(folder / run_folder.RESULT, {**result, "key": old.key})
        folder.rename(folder.with_name(old.folder_name))
    run_folder.write_json(out / "plan.json", plan)
    shutil.rmtree(out / "data")


def test_runs_of_before_are_taken_and_said(data, faked, tmp_path):
    out = tmp_path / "out"
    compared(data, out, faked)
    forget(data, out)
    said, done = compared(data, out, faked)
    assert done == []
    assert said.count("4 of 4 runs were stored before the contents of images were recorded") == 1
    assert not any("recorded" in caveat for caveat in results(out)["caveats"])  # in all runs alike
    assert "images_checksum" not in results(out)["protocol"]
    said, done = compared(data, out, faked, plan={"seeds": (0, 1, 2)})
    assert done == ["yolo11n-2", "yolo11n-ela-2"]
    (caveat,) = (caveat for caveat in results(out)["caveats"] if "recorded" in caveat)
    assert caveat.startswith("4 of 6 runs were stored before")
    assert results(out)["runs"]["complete"] == 6


@pytest.mark.slow
def test_a_training_of_before_that_was_stopped_goes_on(data, faked, tmp_path):
    out = tmp_path / "out"
    compared(data, out, faked)
    forget(data, out)
    stopped = next((out / "runs").glob("yolo11n-seed1-*"))
    (stopped / run_folder.RESULT).unlink()
    (stopped / run_folder.TRAINING).mkdir()
    assert compared(data, out, faked)[1] == ["yolo11n-1"]
    assert run_folder.read_spec(stopped).images_checksum is None
    assert len(list((out / "runs").iterdir())) == 4
    failed = next((out / "runs").glob("yolo11n-seed0-*"))
    (failed / run_folder.RESULT).unlink()  # nothing of it is left: it is made with what is known now
    assert compared(data, out, faked)[1] == ["yolo11n-0"]
    assert sorted(run_folder.read_spec(f).images_checksum is None for f in (out / "runs").glob("yolo11n-seed0-*")) == [
        False,
        True,
    ]


@pytest.fixture
def parts(data, faked, tmp_path):
    """Two folders with a part each, of which the second saw another image."""
    compared(data, tmp_path / "part 1", faked, only="1/2")
    name = exchange(data)
    compared(data, tmp_path / "part 2", faked, only="2/2")
    return tmp_path / "part 1", tmp_path / "part 2", name


def counts(out):
    """Return how many runs are planned and complete."""
    return results(out)["runs"]["planned"], results(out)["runs"]["complete"]


def merged(*folders, out):
    return cli.main(["report", *map(str, folders), "-o", str(out), "--replicates", "20"])


def test_parts_with_other_images_are_refused(parts, data, faked, tmp_path, capsys):
    one, two, name = parts
    capsys.readouterr()
    assert merged(one, two, out=tmp_path / "whole") == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert f"1 of 8 val images have other contents, e.g. {name}" in said
    assert f"'{one}' yolo11n-seed0" in said
    assert not (tmp_path / "whole").exists()
    shutil.rmtree(two / "data")  # which images, is not known then
    assert merged(one, two, out=tmp_path / "whole") == 2
    assert "results of different images_checksum cannot be compared" in capsys.readouterr().err
    with pytest.raises(YoloAttnError, match=rf"part 2/2 has other data than the runs in .*1 of 8 .* e.g. {name}"):
        compared(data, one, faked, only="2/2")
    assert results(one)["runs"]["planned"] == 4
    assert merged(one, out=one) == 0


@pytest.mark.slow
def test_a_part_of_before_is_merged_with_one_of_now(data, faked, tmp_path, capsys):
    one, two, whole = tmp_path / "part 1", tmp_path / "part 2", tmp_path / "whole"
    compared(data, one, faked, only="1/2")
    forget(data, one)
    compared(data, two, faked, only="2/2")
    assert merged(one, two, out=whole) == 0
    assert counts(whole) == (4, 4)
    assert len(list((whole / "data").iterdir())) == 1
    assert any(caveat.startswith("2 of 4 runs were stored before") for caveat in results(whole)["caveats"])
    said, done = compared(data, whole, faked)
    assert done == []
    assert "2 of 4 runs were stored before" in said
    shutil.copytree(two, tmp_path / "again")
    faked.done = []
    driver.compare(plan_for(data), tmp_path / "again")  # the runs of the first part too, with what is known now
    assert merged(one, tmp_path / "again", out=tmp_path / "both") == 0
    assert counts(tmp_path / "both") == (4, 4)
    assert not any("recorded" in caveat for caveat in results(tmp_path / "both")["caveats"])


def test_finished_trainings_are_evaluated_again_on_other_images(data):
    first = read_data(str(data), ["val"])
    exchange(data, "train")
    assert read_data(str(data), ["val"]) == first
    exchange(data)
    second = read_data(str(data), ["val"])
    assert second.checksum == first.checksum
    assert second.images_checksum != first.images_checksum


def test_the_checksum_of_names_and_labels_is_that_of_before(tmp_path):
    """As it was computed before contents of images were read: runs stored then are still found."""
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / kind / split).mkdir(parents=True)
        (tmp_path / "images" / split / "b.jpg").write_bytes(b"12345")
        (tmp_path / "images" / split / "a.png").write_bytes(b"1234567")
        (tmp_path / "labels" / split / "b.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "d.yaml").write_text(f"path: {tmp_path}\ntrain: images/train\nval: images/val\nnames: [dog]\n")
    wanted = hashlib.sha256(b"[(0, 'dog')]")
    for split in (b"train", b"val"):
        wanted.update(split + b"/a.png 7\nno label\n" + split + b"/b.jpg 5\n0 0.5 0.5 0.5 0.5\n")
    assert read_data(str(tmp_path / "d.yaml")).checksum == wanted.hexdigest()


def test_images_of_one_name_in_two_folders_are_told_apart(tmp_path):
    def record(*digests):
        count = len(digests)
        return Contents(count, ("a.jpg",) * count, ("dog",), ("val",), [0] * count, digests, [0] * count)

    def said(one, other):
        return "; ".join(contents._compared(one, other))

    assert said(record(1, 2), record(1, 2)) == ""
    assert said(record(1, 2), record(1, 3)) == "1 of 2 val images have other contents, e.g. a.jpg"
    big = record(2**64 - 1, 2**63)
    assert said(Contents.load(big.save(tmp_path / "r.npz")), big) == ""
    empty = Contents(0, (), (), (), [], [], [])
    assert said(empty, record(1)) == "1 of 1 val images are new, e.g. a.jpg; the classes have other names"


def test_an_image_that_cannot_be_read_is_named(data):
    file = sorted((data.parent / "images" / "val").iterdir())[0]
    file.unlink()
    file.symlink_to("nowhere.jpg")
    with pytest.raises(YoloAttnError, match=rf"data '.*': the image {file} cannot be read \(No such file"):
        read_data(str(data))
