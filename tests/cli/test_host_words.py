"""`yolo-attn` understands the words of `yolo`: both parsers are given the same words, and arrive at the same call."""

from itertools import permutations

import pytest
import ultralytics
import ultralytics.cfg

import yolo_attn as ya
from yolo_attn import cli
from yolo_attn.export.command import is_export
from yolo_attn.host import command, words
from yolo_attn.train import yolo

MODELS = ("YOLO", "RTDETR", "FastSAM", "SAM", "NAS")
SHUFFLED = [
    "train model=a.yaml data=d.yaml imgsz=32,64",
    "segment predict model=a.pt source=x.jpg save_txt",
    "export model=rtdetr-l.pt format=onnx half",
    "mode=val model=fastsam.pt data=d.yaml",
    "cfg=mine.yaml imgsz=96 model=a.pt train",
]
WAYS = [
    "model=a.pt source=x.jpg",
    "train",
    "detect",
    "track source=x.mp4",
    "task=track model=a.pt source=x.mp4",
    "benchmark model=a.pt",
    "predict model=sam_b.pt",
    "predict model=yolo_nas_s.pt source=x.jpg",
    "obb predict",
    "cfg=mine.yaml",
    "cfg=exports.yaml model=a.pt",
    "cfg=exports.yaml model=a.pt mode=val",
    "cfg=exports.yaml cfg=mine.yaml model=a.pt",
    "cfg=mine.yaml model=a.pt cfg=exports.yaml",
    "predict val model=a.pt",
    "imgsz = 320 predict model= a.pt source =x.jpg",
    "mode = export model=a.pt format =onnx",
    "predict imgsz=[320, 640] model=a.pt source=x.jpg",
    "--imgsz=320 --predict, model=a.pt, source=x.jpg --save_txt",
    "train model=a.pt data=d.yaml resume",
    "classes=[0, [1]] val model=a.pt name=export project=export",
]
REFUSED = [
    "nope",
    "predict nope model=a.pt",
    "imgsz 320 predict",
    "predict epochz=3",
    "mode=nope",
    "task=nope",
    "cfg=none.yaml train",
    "predict model=",
    "imgsz=[320 predict",
    "Predict model=a.pt",
]
SPECIALS = {
    "checks": "checks.collect_system_info",
    "settings": "handle_yolo_settings",
    "cfg": "YAML.print",
    "login": "handle_yolo_login",
    "logout": "handle_yolo_login",
    "copy-cfg": "copy_default_cfg",
    "solutions": "handle_yolo_solutions",
}


def shuffled():
    return [list(order) for line in SHUFFLED for order in permutations(line.split())]


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Put in place of every model and every special command one that notes how it is called, in a list."""
    noted = []

    class Noting:
        task = "detect"

        def __init__(self, *given, **named):
            self.opened = (type(self).__name__, given, named)

        def __getattr__(self, method):
            return lambda **settings: noted.append((self.opened, method, settings))

    classes = {name: type(name, (Noting,), {}) for name in MODELS}
    run_command = command.run_command
    monkeypatch.setattr(yolo, "run_command", lambda given, **ours: run_command(given, **{n: classes[n] for n in ours}))
    for name, cls in classes.items():
        monkeypatch.setattr(ultralytics, name, cls)
    for name in SPECIALS.values():
        monkeypatch.setattr(f"ultralytics.cfg.{name}", lambda *given, name=name: noted.append((name, given)))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("imgsz: 64\nmode: train\nepochs: 7\n")
    (tmp_path / "exports.yaml").write_text("mode: export\nformat: onnx\n")
    return noted


def understood_by_yolo(given, calls, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ultralytics.cfg, "ARGV", ["yolo", *given])
        ultralytics.cfg.entrypoint()
    (call,) = calls
    calls.clear()
    return call


@pytest.mark.slow
@pytest.mark.parametrize("lines", [shuffled(), [line.split() for line in WAYS]], ids=["any order", "any way"])
def test_both_arrive_at_the_same_call(lines, calls, monkeypatch, capsys):
    for given in lines:
        wanted = understood_by_yolo(given, calls, monkeypatch)
        assert is_export(given) == (wanted[1] == "export"), given
        code = cli.main(given)
        assert (code, calls) == (0, [wanted]), f"{given}: {capsys.readouterr().err}"
        calls.clear()


def test_both_refuse_the_same(calls, monkeypatch, capsys):
    for given in map(str.split, REFUSED):
        with pytest.raises((SyntaxError, ValueError, FileNotFoundError)):
            understood_by_yolo(given, calls, monkeypatch)
        capsys.readouterr()
        assert cli.main(given) == 2, given
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("yolo-attn: ")]
        assert len(said) == 1, given
    assert calls == []


def test_both_carry_out_the_same_special_command(calls, monkeypatch):
    assert set(words.special_commands()) == {*SPECIALS, "help", "version"}
    forms = {f"{dash}{form}" for name in SPECIALS for form in (name, name[0], name.upper()) for dash in ("", "-", "--")}
    forms |= {"check", "setting", "solution", "settings plots=False", "solutions count show=False", "login abc"}
    for given in [*map(str.split, forms), ["imgsz=3", "cfg"], ["train", "checks"]]:
        wanted = understood_by_yolo(given, calls, monkeypatch)
        assert (cli.main(given), calls) == (0, [wanted]), given
        calls.clear()


@pytest.mark.parametrize("given", ["help", "h", "-help", "imgsz=3 -help"])
def test_help_is_of_both(given, calls, capsys):
    assert cli.main(given.split()) == 0
    said = capsys.readouterr().out
    for word in (*words.modes(), *words.special_commands(), *cli.VERBS, "yolo help", "--no-check"):
        assert word in said, word


@pytest.mark.parametrize("given", ["version", "v", "-v", "train --version"])
def test_version_is_of_both(given, capsys):
    assert cli.main(given.split()) == 0
    assert capsys.readouterr().out.split() == ["yolo-attn", ya.__version__, "ultralytics", ultralytics.__version__]


@pytest.mark.parametrize(
    ("given", "near"),
    [("blcks", "blocks"), ("predct", "predict"), ("imgsz=3 chekcs", "checks"), ("segmnt train", "segment")],
)
def test_an_unknown_word_is_answered_with_the_nearest_of_all(given, near, capsys):
    assert cli.main(given.split()) == 2
    assert f"Did you mean '{near}'?" in capsys.readouterr().err


def test_what_is_read_from_the_source_is_what_the_module_holds():
    assert words.modes() == list(ultralytics.cfg.MODES)
    assert words.tasks() == list(ultralytics.cfg.TASKS)
    for line in [*WAYS, "= a", "a =", "x=[[1, 2], [3, 4]] y", "a = b = c"]:
        assert words.merged(line.split()) == ultralytics.cfg.merge_equals_args(line.split()), line
