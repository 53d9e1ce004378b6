"""User input never runs as code, leaves its folder or reaches a shell; no secret is in the tree."""

import ast
import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from support.paths import ROOT

import yolo_attn as ya
from yolo_attn import cli
from yolo_attn.compare.folder import PLAN
from yolo_attn.compare.plan import Plan, arms_of
from yolo_attn.errors import YoloAttnError
from yolo_attn.subset.convert import convert_coco
from yolo_attn.subset.download import Archive, unpack
from yolo_attn.util.files import plain_name, stays_inside

SOURCES = sorted(p for folder in ("yolo_attn", "tools", ".ci") for p in (ROOT / folder).rglob("*.py"))

# --- the source tree --------------------------------------------------------------------------------------------------
FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput",
    "subprocess.getstatusoutput", "pickle.load", "pickle.loads", "marshal.loads", "shelve.open", "yaml.load",
    "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "tempfile.mktemp", "torch.hub.load", "shutil.unpack_archive",
}  # fmt: skip
UNPICKLES = {
    "resume.py": "torch.load",  # the state of a training that this package wrote, in the run's own folder
    "checks.py": "torch.load",  # the checkpoint of a training that the check itself has just run
    "random_state.py": "pickle.loads",  # what workers of this training wrote, part of the state above
}
EXTRACTS = {"download.py"}  # zip files: zipfile itself keeps members inside, see below


def name_of(call):
    """A call's function as written, ``os.system``; a method of anything but a plain name has none."""
    try:
        text = ast.unparse(call.func)
    except ValueError:
        return ""
    return text if all(part.isidentifier() for part in text.split(".")) else ""


def keywords(call):
    return {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}


def wrongs(source, file):
    """Return all calls in a source that could execute, unpickle or extract untrusted input."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name, given = name_of(node), keywords(node)
        where = f"{file}:{node.lineno}: {name}"
        if name in FORBIDDEN and UNPICKLES.get(Path(file).name) != name:
            yield where
        if given.get("shell"):
            yield f"{where} with a shell"
        if name == "torch.load" and given.get("weights_only") is not True and UNPICKLES.get(Path(file).name) != name:
            yield f"{where} without weights_only=True"
        if name == "np.load" and given.get("allow_pickle") is not False:
            yield f"{where} without allow_pickle=False"
        if name.endswith(("extractall", "extract")) and Path(file).name not in EXTRACTS:
            yield where
        if name == "hashlib.md5" and given.get("usedforsecurity") is not False:
            yield where
        if name.startswith("subprocess.") and node.args and isinstance(node.args[0], (ast.Constant, ast.JoinedStr)):
            yield f"{where} with a command in one text"


def test_nothing_in_the_sources_runs_what_it_reads():
    assert len(SOURCES) > 100
    found = [wrong for file in SOURCES for wrong in wrongs(file.read_text(encoding="utf-8"), file.relative_to(ROOT))]
    assert found == []


@pytest.mark.parametrize(
    "line",
    ["eval(x)", "exec(x)", "os.system(x)", "subprocess.run(x, shell=True)", "subprocess.run('ls')", "yaml.load(x, L)",
     "torch.load(x)", "torch.load(x, weights_only=False)", "np.load(x)", "np.load(x, allow_pickle=True)",
     "pickle.loads(x)", "z.extractall(x)", "hashlib.md5(x)", "a = [f(eval(x))]"],
)  # fmt: skip
def test_the_check_of_the_sources_finds(line):
    assert len(list(wrongs(line, "some.py"))) == 1


def test_what_the_check_of_the_sources_lets_through():
    fine = "model.eval()\nast.literal_eval(x)\nyaml.safe_load(x)\ntorch.load(x, weights_only=True)\nre.compile(x)\n"
    assert list(wrongs(fine + "subprocess.run(['ls', x], check=True)\ntorch.compile(m)", "some.py")) == []


# --- model YAMLs ------------------------------------------------------------------------------------------------------
EVIL = "__import__('pathlib').Path('EVIL').touch()"
ROWS = {"nc": 3, "backbone": [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "SE", []]], "head": [[[0, 1], 1, "Detect", ["nc"]]]}


@pytest.mark.parametrize(
    "activation",
    [EVIL, f"nn.ReLU({EVIL})", f"nn.ReLU(inplace={EVIL})", "nn.ReLU().to(1)", "nn.functional.relu", "torch.load('x')",
     "nn.ReLU", "(lambda: nn.ReLU())()", 5, ["nn.ReLU()"], "nn.Hardswish() if 1 else 2", "(" * 500],
)  # fmt: skip
@pytest.mark.parametrize("rows", ["attention", "stock"])
def test_an_activation_is_a_class_of_torch_with_plain_arguments(activation, rows, tmp_path, monkeypatch):
    """Ultralytics evaluates it as Python, so a model YAML from elsewhere could run anything."""
    monkeypatch.chdir(tmp_path)
    model = {**ROWS, "backbone": ROWS["backbone"][: 1 + (rows == "attention")], "activation": activation}
    model["head"] = [[[0, len(model["backbone"]) - 1], 1, "Detect", ["nc"]]]
    Path("yolo11n-mine.yaml").write_text(yaml.safe_dump(model))
    uses = [lambda file: ya.insert(file, "SE", at="after:0"), *([ya.YOLO] if rows == "attention" else [])]
    for use in uses:  # a stock model is Ultralytics' own affair
        with pytest.raises(YoloAttnError, match="activation: "):
            use("yolo11n-mine.yaml")
    assert not Path("EVIL").exists()


@pytest.mark.parametrize(
    ("activation", "name"),
    [("nn.ReLU()", "ReLU"), ("torch.nn.LeakyReLU(0.1)", "LeakyReLU"), ("nn.Hardswish(inplace=True)", "Hardswish"),
     ("torch.nn.modules.activation.Mish()", "Mish"), (None, "SiLU")],
)  # fmt: skip
def test_usual_activations_are_used(activation, name, tmp_path):
    file = tmp_path / "yolo11n-mine.yaml"
    file.write_text(yaml.safe_dump({**ROWS, "activation": activation}))
    assert type(ya.YOLO(file).model.model[0].act).__name__ == name


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system ['touch EVIL']", "!!python/name:os.system"])
def test_yaml_tags_run_nothing(tag, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("yolo11n-mine.yaml").write_text(f"nc: {tag}\nbackbone: []\nhead: []\n")
    Path("matrix.yaml").write_text(f"arms: {tag}\n")
    Path("data.yaml").write_text(f"path: .\ntrain: {tag}\nnames: {{0: a}}\n")
    for words in (
        "insert yolo11n-mine.yaml --block SE",
        "compare matrix.yaml --data data.yaml",
        "subset --yolo data.yaml -o out",
        "train model=yolo11n-ela.yaml data=data.yaml epochs=1",
    ):
        assert cli.main(words.split()) == 2, words
    assert not Path("EVIL").exists()


# --- names and paths --------------------------------------------------------------------------------------------------
AWAY = [
    "../x.jpg",
    "/etc/hostname",
    "a/../../x.jpg",
    "..",
    "C:/x.jpg",
    "C:\\x.jpg",
    "..\\x.jpg",
    "a\x00.jpg",
    "a\n.jpg",
    "",
]


@pytest.mark.parametrize("name", AWAY, ids=ascii)
def test_a_file_name_of_a_coco_json_stays_in_its_folder(name, scenes, tmp_path):
    content = json.loads(next((scenes.parents[1] / "coco" / "annotations").glob("*val*")).read_text())
    content["images"][0]["file_name"] = name
    (tmp_path / "x.jpg").write_bytes(b"somebody else's")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "all.json").write_text(json.dumps(content))
    with pytest.raises(YoloAttnError, match="file_name must stay inside"):
        convert_coco(tmp_path / "set" / "all.json", tmp_path / "out", copy=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["1.jpg", "val2017/1.jpg", "a..b.jpg", "..a/b.jpg", "~x.jpg", "é 集.jpg", "a:b.jpg"])
def test_usual_file_names_stay_inside(name):
    assert stays_inside(name)


BAD_NAMES = ["../x", "a/b", "/x", "..", ".hidden", "a\\b", "a\nb", "a\x00", "", "x" * 300, "a:b", " a", "a ", None, 5]


@pytest.mark.parametrize("name", [n for n in BAD_NAMES if n not in (None, 5)], ids=ascii)
def test_an_arm_s_name_becomes_one_folder(name, scenes):
    with pytest.raises(YoloAttnError, match="cannot name a folder"):
        arms_of(Plan(arms=[{"model": "yolo11n.yaml", "name": name}], data=str(scenes)))


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_plain_names(name):
    with pytest.raises(YoloAttnError, match="cannot name a folder"):
        plain_name("arm", name)


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc", "a/b", None])
def test_a_plan_from_elsewhere_names_no_folder_but_its_runs(name, comparing, tmp_path, capsys):
    assert comparing(tmp_path / "out") == []
    file = tmp_path / "out" / PLAN
    plan = json.loads(file.read_text())
    plan["runs"][0] = name
    file.write_text(json.dumps(plan))
    assert cli.main(["report", str(tmp_path / "out")]) == 2
    assert "cannot name a folder" in capsys.readouterr().err


@pytest.mark.parametrize("member", ["../outside.txt", "/outside.txt", "a/../../outside.txt", "..\\outside.txt"])
def test_a_member_of_a_zip_file_stays_inside(member, tmp_path):
    path = tmp_path / "here" / "val2017.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("val2017/1.jpg", "an image")
        file.writestr(member, "not wanted here")
    unpack(path, Archive("http://x/val2017.zip", None, "val2017"), path.parent)
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")} == {
        "here",
        "here/val2017",
        "here/val2017/1.jpg",
    }


def test_names_in_a_report_are_text_not_html(comparing, tmp_path):
    assert comparing(tmp_path) == []
    found = json.loads((tmp_path / "results.json").read_text())
    text = json.dumps(found).replace("yolo11n-ela", "<script>alert(1)</script>")
    from yolo_attn.report.html import to_html
    from yolo_attn.report.results import Results

    html = to_html(Results.from_json(json.loads(text)), {})
    assert "alert(1)" in html
    assert "<script>alert" not in html


# --- secrets ----------------------------------------------------------------------------------------------------------
def secrets():
    spec = importlib.util.spec_from_file_location("check_secrets", ROOT / ".ci" / "check_secrets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PLANTED = {  # put together here, so that the scan of this file finds nothing
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "AWS key": "AKIA" + "Z" * 16,
    "GitHub token": "ghp_" + "a1" * 18,
    "GitLab token": "glpat-" + "a1" * 10,
    "PyPI token": "pypi-" + "Ag" * 30,
    "Hugging Face token": "hf_" + "aB" * 17,
    "Slack token": "xoxb-" + "1234567890-abc",
    "Google key": "AIza" + "a" * 35,
    "JSON web token": "eyJ" + "a" * 12 + ".eyJ" + "b" * 12 + "." + "c" * 12,
    "password in an address": "https://user:" + "hunter2@example.org/simple",
    "value of a secret": "api_key" + " = 'abcd1234efgh'",
    "private package index": "pip install --index-" + "url https://pypi.example.org/simple x",
    "private address": "http://" + "10.1.2.3:8080/simple",
    "private host": "https://mirror." + "corp/simple",
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_secret_is_found(kind, tmp_path):
    (tmp_path / "a.txt").write_text(f"first line\nsome text {PLANTED[kind]} more\n")
    assert f"{tmp_path / 'a.txt'}:2: {kind}" in secrets().scan([tmp_path / "a.txt"])
    assert kind in secrets().KINDS
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "check_secrets.py", tmp_path / "a.txt"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert PLANTED[kind] not in done.stdout


def test_every_kind_of_secret_is_planted_once():
    assert set(PLANTED) == set(secrets().KINDS)


@pytest.mark.slow
def test_no_secret_lies_in_the_tree(monkeypatch):
    monkeypatch.chdir(ROOT)
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: nothing is tracked")
    assert secrets().scan(secrets().tracked()) == []
