"""What this package promises, as checks: each does what a user does and compares with what has to come out.

A check returns what it found, in a few words. It raises :class:`instruments.contract.workbench.NotHere` where there is
nothing to check in the installed releases, and any other error where they break the promise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from instruments.contract.workbench import TINY, NotHere, Workbench
from yolo_attn.errors import YoloAttnError

Check = Callable[[Workbench], str]


# --- the checks, in the order in which they run -----------------------------------------------------------------------
def host_alone(bench: Workbench) -> str:
    """Ultralytics by itself, without this package, trains and validates: what fails here is not ours."""
    code = (
        "import sys; from ultralytics import YOLO; m = YOLO('yolo11n.yaml');"
        f"m.train(pretrained={str(bench.weights)!r}, **{bench.settings('host')!r});"
        "YOLO(m.trainer.best).val(data=m.trainer.args.data, imgsz=64, plots=False, device='cpu');"
        "assert 'yolo_attn' not in sys.modules"
    )
    bench.python("-c", code)
    return "trains, validates, opens its checkpoint"


def ready_models(bench: Workbench) -> str:
    """Every ready YAML whose family the host knows builds; the others are refused by name."""
    import yolo_attn as ya
    from instruments.ready_models import ready_models as ready
    from yolo_attn.host.model import host_model_names

    families = {Path(name).stem for name in host_model_names()}
    built, refused = [], []
    for model in _few(ready()) if bench.quick else ready():
        name = model.name.replace(model.family, f"{model.family}n", 1)
        if model.family in families:
            found = [type(m) for m in ya.YOLO(name).model.modules()]
            assert ya.ATTENTION_BLOCKS[model.block] in found, f"{name} holds no {model.block}"
            built.append(name)
            continue
        try:
            ya.YOLO(name)
        except YoloAttnError:
            refused.append(model.family)
        else:
            raise AssertionError(f"{name} was built, although this Ultralytics has no {model.family}.yaml")
    assert built
    return f"{len(built)} build" + (
        f"; {len(refused)} refused, of {', '.join(sorted(set(refused)))}" if refused else ""
    )


def _few(models: Sequence[Any]) -> list[Any]:
    return [m for m in models if m.block == "CA"]


def insertion_is_invisible(bench: Workbench) -> str:
    """Identity blocks, in rows and inside host blocks, change no output; all weights come over, strictly."""
    from instruments.insertion import check
    from yolo_attn.host.model import host_model_names

    stock = [n for n in ("yolov8.yaml", "yolo11.yaml", "yolo26.yaml") if n in host_model_names()]
    cases = check(stock[1:2] if bench.quick else stock, scales="n", blocks=("CA",))
    wrong = [f"{c.model}, {c.block}, {c.site}: {c.result}" for c in cases if c.result not in ("ok", "no such site")]
    assert not wrong, wrong[0] + (f" and {len(wrong) - 1} more" if wrong[1:] else "")
    return f"{len(cases)} cases of {len({c.model for c in cases})} models"


def stock_loading_warns(bench: Workbench) -> str:
    """The host's own loading, which goes by row number, says that it loses weights."""
    import logging

    import ultralytics

    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger = logging.getLogger("ultralytics")
    logger.addHandler(handler)
    try:
        ultralytics.YOLO("yolo11n-ela.yaml").load(str(bench.weights))
    finally:
        logger.removeHandler(handler)
    assert any("attention" in line for line in said), "nothing is said"
    return "it does"


def trains(bench: Workbench) -> str:
    """Training starts from weights that follow their rows, is stopped after an epoch, and resumes."""
    import yolo_attn as ya

    seen: dict[str, Any] = {"epochs": []}

    def stop_once(trainer: Any) -> None:
        seen["epochs"].append(trainer.epoch)
        if seen["epochs"] == [0]:
            raise KeyboardInterrupt

    model = ya.YOLO("yolo11n-cbam.yaml")
    model.add_callback("on_train_start", lambda trainer: seen.update(start=_state(trainer.model)))
    model.add_callback("on_model_save", stop_once)
    with contextlib.suppress(KeyboardInterrupt):
        model.train(pretrained=str(bench.weights), **bench.settings("trains", epochs=2))
    _assert_transferred(bench, "yolo11n-cbam.yaml", seen["start"])
    again = ya.YOLO(bench.folder / "runs" / "trains" / "weights" / "last.pt")
    again.train(resume=True)
    lines = (Path(again.trainer.save_dir) / "results.csv").read_text().split("\n")[1:]
    assert [line.split(",")[0].strip() for line in lines if line] == ["1", "2"], lines
    bench._trained = Path(again.trainer.last)
    return "an epoch, resumed for another"


def _state(model: Any) -> dict[str, Any]:
    return {k: v.detach().clone() for k, v in model.state_dict().items()}


def _assert_transferred(bench: Workbench, name: str, state: dict[str, Any], rounded: float = 0.0) -> None:
    """Fail unless the parameters that a single build takes over from the base weights are those of a state."""
    import torch

    import yolo_attn as ya
    from yolo_attn.train.freeze import attention_parameters

    single = ya.YOLO(name).load(str(bench.weights)).model
    own = attention_parameters(single)
    expected = {k: p for k, p in single.named_parameters() if k not in own}
    same = {k: p for k, p in expected.items() if p.shape == state[k].shape}
    other_shapes = [k for k in expected if k not in same and ".cv3." not in k]  # the class branch, of other classes
    assert not other_shapes, f"{len(other_shapes)} tensors have another shape, e.g. {other_shapes[0]}"
    other = [k for k, p in same.items() if not torch.allclose(p, state[k], rtol=rounded, atol=rounded / 1000)]
    assert not other, f"{len(other)} of {len(same)} tensors did not arrive, e.g. {other[0]}"


def freezes_the_base(bench: Workbench) -> str:
    """``freeze=base`` trains the attention, and layers that the weights did not fill, only."""
    import torch

    import yolo_attn as ya
    from yolo_attn.train.freeze import attention_parameters

    seen: dict[str, Any] = {}
    model = ya.YOLO("yolo11n-ca-inside.yaml")
    model.add_callback("on_train_start", lambda trainer: seen.update(start=_state(trainer.model)))
    model.add_callback("on_train_epoch_end", lambda trainer: seen.update(end=_state(trainer.model)))
    model.train(pretrained=str(bench.weights), freeze="base", **bench.settings("freezes", lr0=0.1))
    moved = {k for k, v in seen["end"].items() if not torch.equal(v, seen["start"][k])}
    own = attention_parameters(model.model)
    base = {k for k in moved if ".attention." not in k and ".cv3." not in k}
    assert not base, f"{len(base)} tensors of the base moved, e.g. {min(base)}"
    assert own & moved, "no attention moved"
    return f"{len(own & moved)} of {len(own)} tensors of attention moved"


def worker_rebuilds(bench: Workbench) -> str:
    """The program that the host writes for the processes of a multi-GPU training, run by one on the CPU."""
    import torch

    import yolo_attn as ya
    from yolo_attn.train import yolo

    name = "yolo11n-ela.yaml"
    model = ya.YOLO(name).load(str(bench.weights))
    still = bench.settings("worker", lr0=0.0, warmup_bias_lr=0.0)
    trainer = model.task_map["detect"]["trainer"](overrides={**model.overrides, **still})
    trainer.model = trainer.get_model(cfg=model.model.yaml, weights=model.model)  # as YOLO.train() does
    program = yolo.worker_program(trainer)
    try:
        bench.python(str(program))
    finally:
        program.unlink()
    last = torch.load(bench.folder / "runs" / "worker" / "weights" / "last.pt", map_location="cpu", weights_only=False)
    _assert_transferred(
        bench, name, (last["ema"] or last["model"]).float().state_dict(), rounded=1e-3
    )  # to half precision
    return "trainer and model rebuilt, weights as in a single process"


def validates(bench: Workbench) -> str:
    """A trained checkpoint validates, opened by this package and by the host alike."""
    import ultralytics

    import yolo_attn as ya

    settings = {"data": str(bench.data), "imgsz": 64, "plots": False, "device": "cpu", "project": str(bench.folder)}
    ours, theirs = (float(y(str(bench.trained)).val(**settings).box.map) for y in (ya.YOLO, ultralytics.YOLO))
    assert 0 <= ours == theirs <= 1, (ours, theirs)
    return f"mAP50-95 {ours:.4f} either way"


def predicts(bench: Workbench) -> str:
    """A trained checkpoint predicts on a file and on an array alike."""
    import cv2
    import torch

    import yolo_attn as ya

    model = ya.YOLO(str(bench.trained))
    ways = (str(bench.image), cv2.imread(str(bench.image)))
    file, array = (model.predict(way, imgsz=64, conf=0.001, verbose=False, device="cpu")[0].boxes.data for way in ways)
    assert torch.equal(file, array)
    return f"{len(file)} boxes"


def fuses(bench: Workbench) -> str:
    """Fusing folds the blocks' normalisations too and changes no output."""
    import torch

    import yolo_attn as ya

    worst = 0.0
    for name in ("yolo11n-cbam.yaml", "yolo11n-ca-inside.yaml"):
        torch.manual_seed(0)
        model = ya.YOLO(name).model
        for norm in [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]:
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
        image = torch.rand(1, 3, 64, 64)
        with torch.no_grad():
            before = model.eval()(image)[0]
            after = model.fuse(verbose=False)(image)[0]
        assert not [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)], f"{name}: a norm is left"
        worst = max(worst, float((after - before).abs().max() / before.abs().max()))
    assert worst < 1e-4, f"outputs differ by {worst:.1e} of the largest"
    return f"outputs within {worst:.0e} of the largest"


def opens_elsewhere(bench: Workbench) -> str:
    """The checkpoint opens in a process that never imported this package, with the restricted loader too."""
    code = (
        f"from ultralytics import YOLO; model = YOLO({str(bench.trained)!r}).model.model;"
        "assert [type(row).__module__ for row in model].count('yolo_attn.blocks.cbam') == 3"
    )
    bench.python("-c", code)
    bench.python("-c", f"import yolo_attn; {code}", ULTRALYTICS_SAFE_LOAD="1")
    return "it does"


def exports(bench: Workbench) -> str:
    """A trained checkpoint exports to TorchScript, which computes what the model computes, at another size too."""
    import torch

    import yolo_attn as ya

    model = ya.YOLO(str(bench.trained))
    file = model.export(format="torchscript", imgsz=64, device="cpu")
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = ya.YOLO(str(bench.trained)).model.float().eval()(image)[0]
        gap = float((torch.jit.load(str(file))(image) - expected).abs().max() / expected.abs().max())
    assert gap < 1e-3, f"outputs differ by {gap:.1e} of the largest"
    return f"TorchScript, outputs within {gap:.0e} of the largest"


def packs(bench: Workbench) -> str:
    """A trained checkpoint is packed, and opens with torch alone where this package cannot be imported."""
    from yolo_attn.export.pack import SCRIPT, pack

    folder = pack(bench.trained, bench.folder / "packed", imgsz=64)
    code = (
        "import sys; sys.modules['yolo_attn'] = None; import torch;"
        f"torch.jit.load({str(folder / SCRIPT)!r}).eval()(torch.zeros(2, 3, 96, 64))"
    )
    bench.python("-c", code)
    return "as the checkpoint at two sizes, opens with torch alone"


def shows(bench: Workbench) -> str:
    """What a trained checkpoint attends to is drawn, and the log of its gates has every epoch."""
    from yolo_attn.compare.run_folder import GATES
    from yolo_attn.gates.log import read_gates
    from yolo_attn.show.gallery import show

    found = show([str(bench.trained)], [bench.image], bench.folder / "show", imgsz=64)
    assert [model["attention"] for model in found["models"]] == [3]
    pictures = list((bench.folder / "show").rglob("*.png"))
    assert pictures
    assert Path(found["page"]).stat().st_size > sum(p.stat().st_size for p in pictures)
    logged = sorted({row["epoch"] for row in read_gates(bench.trained.parents[1] / GATES)})
    assert logged == ["0", "1", "2"], logged
    return f"{len(pictures)} pictures; gates logged before and after each of 2 epochs"


def commands(bench: Workbench) -> str:
    """The command line inserts, trains and predicts, and answers a mistake with exit code 2."""
    from yolo_attn.cli import main

    made = bench.folder / "yolo11n-mine.yaml"
    assert main(["insert", "yolo11n.yaml", "--block", "ELA", "--inside", "C3k2", "-o", str(made)]) == 0
    words = [f"{k}={v}" for k, v in bench.settings("cli").items()]
    bench.python("-m", "yolo_attn.cli", "train", f"model={made}", f"pretrained={bench.weights}", *words)
    best = bench.folder / "runs" / "cli" / "weights" / "best.pt"
    where = (f"source={bench.image}", "imgsz=64", "device=cpu", f"project={bench.folder / 'runs'}")
    assert main(["predict", f"model={best}", *where]) == 0
    assert main(["train", "model=yolo11n-elaa.yaml", *words]) == 2
    return "insert, train, predict"


def compares(bench: Workbench) -> str:
    """A comparison runs to its report, or is refused before anything is trained."""
    from yolo_attn.compare.driver import compare
    from yolo_attn.compare.plan import Plan
    from yolo_attn.compare.results import read

    recipe = {k: v for k, v in TINY.items() if k not in ("device", "plots")}
    arms, recipe = ("yolo11n-ela.yaml",), {**recipe, "epochs": 1}
    plan = Plan(arms, str(bench.data), str(bench.weights), (0, 1), recipe, device="cpu", threads=1)
    out = bench.folder / "compare"
    try:
        failed = compare(plan, out, speed_seconds=0)
    except YoloAttnError as error:
        assert not (out / "runs").exists(), "it is refused after training"
        raise NotHere(str(error)) from error
    assert not failed, failed[0]
    batches = {r["seed"]: r["first_batches"] for r in read(out).results.values()}
    assert len(set(batches.values())) == 2, "both seeds trained on the same batches"
    return "2 seeds, each on batches of its own"


CHECKS: tuple[Check, ...] = (
    host_alone,
    ready_models,
    insertion_is_invisible,
    stock_loading_warns,
    trains,
    freezes_the_base,
    worker_rebuilds,
    validates,
    predicts,
    fuses,
    opens_elsewhere,
    exports,
    packs,
    shows,
    commands,
    compares,
)
