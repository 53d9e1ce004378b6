"""Made-up results of a comparison, as the content of ``results.json``, for the tests of the report."""

import random

from yolo_attn.report.results import Results

METRICS = ["mAP50-95", "AP50", "AP75", "APs", "APm", "APl"]
BASE = {"mAP50-95": 0.2386, "AP50": 0.3712, "AP75": 0.2490, "APs": 0.0841, "APm": 0.2610, "APl": 0.3975}
BLOCKS = ["ela", "ca", "se", "eca", "gc", "identity", "cbam", "sge", "scse", "nl", "snl", "cse", "sse"]
CLASSES = ["person", "traffic light", "hot dog", "potted plant", *(f"class {k}" for k in range(4, 80))]


def example(arms=7, seeds=(0, 1, 2), classes=CLASSES):
    """Content of a results.json with so many arms: the baseline, a better one, a worse one, the others neither."""
    rng = random.Random(7)
    names = ["yolo11n", *(f"yolo11n-{BLOCKS[k % 13]}{'' if k < 13 else '-backbone'}" for k in range(arms - 1))]
    effects = [0.0, 0.0092, -0.0081, *(0.001 * k for k in range(-2, arms))]
    made = [_arm(rng, names[k], effects[k], list(seeds), classes, k) for k in range(arms)]
    return {
        "title": "Attention in the neck of yolo11n",
        "baseline": "yolo11n",
        "runs": {"planned": arms * len(seeds), "complete": arms * len(seeds), "failed": []},
        "protocol": {
            "data": "data.yaml",
            "data_checksum": "3f" * 32,
            "weights": "yolo11n.pt",
            "weights_checksum": "a1" * 32,
            "overrides": {"epochs": 30, "imgsz": 320, "batch": 32, "optimizer": "SGD", "lr0": 0.005, "amp": False},
            "seeds": list(seeds),
            "judged": "last epoch",
        },
        "environment": {
            "device": "cuda:0", "cpu": "Some CPU", "cores": 16, "threads": 8, "gpu": "Some GPU", "cuda": "12.8",
            "driver": "570.1", "python": "3.12.3", "torch": "2.9.0", "ultralytics": "8.4.1", "yolo_attn": "0.1.0",
        },
        "commit": "8cb7ff5",
        "data": {"images": 600, "targets": 4321, "classes": len(classes), "classes_without_targets": ["toaster"]},
        "metrics": METRICS,
        "bootstrap": {"replicates": 1000, "level": 0.95, "seed": 0, "method": "Images and seeds are resampled."},
        "arms": made,
        "speed": _speed(rng, names),
        "caveats": [
            "The validation images are 600; what holds for them need not hold for other data.",
            "All models were trained with the recipe of the baseline, which was tuned for none of them.",
        ],
        "power": "With 3 seeds and 600 images a difference below about 0.006 would mostly be missed.",
    }  # fmt: skip


def built(content):
    """The results that a results.json of this content holds."""
    return Results.from_json(content)


def _arm(rng, name, effect, seeds, classes, k):
    control = name.endswith("identity")
    return {
        "name": name,
        "kind": "baseline" if k == 0 else "identity control" if control else "attention",
        "seeds": seeds,
        "parameters": 2_624_080 + 4_032 * k,
        "gflops": 6.614 + 0.01 * k,
        "epoch_seconds": 41.0 + 1.3 * k,
        "peak_memory_mb": 2310.0 + 55 * k,
        "metrics": {m: _values(rng, BASE[m] + effect, len(seeds)) for m in METRICS},
        "difference": None if k == 0 else {m: _difference(rng, effect, len(seeds)) for m in METRICS},
        "per_class": [_of_class(rng, c, effect) for c in classes] if k else [],
        "curve": {
            "quantity": "mAP50-95",
            "epochs": list(range(1, 31)),
            "by_seed": [_curve(rng, BASE["mAP50-95"] + effect) for _ in seeds],
        },
    }


def _values(rng, centre, n):
    values = [centre + rng.gauss(0, 0.0016) for _ in range(n)]
    mean = sum(values) / n
    sd = (sum((v - mean) ** 2 for v in values) / (n - 1)) ** 0.5 if n > 1 else None
    return {"by_seed": values, "mean": mean, "sd": sd}


def _difference(rng, effect, n):
    by_seed = [effect + rng.gauss(0, 0.002) for _ in range(n)]
    estimate, half = sum(by_seed) / n, 0.0052 + abs(rng.gauss(0, 0.0006))
    low, high = estimate - half, estimate + half
    known = n > 1 and (low > 0 or high < 0)
    return {
        "estimate": estimate, "low": low, "high": high, "se": half / 2.1, "df": n - 1, "seed_share": 0.4, "p": 0.004,
        "p_holm": 0.024 if known else 0.61, "p_permutation": 0.25, "p_permutation_holm": 1.0, "permutation_floor": 0.25,
        "by_seed": by_seed, "seeds_counted": n > 1, "detectable": 0.0071 if n > 1 else None, "seeds_needed": 8,
        "verdict": ("better" if low > 0 else "worse") if known else "not significant" if n > 1 else None,
    }  # fmt: skip


def _of_class(rng, name, effect):
    estimate, half = effect + rng.gauss(0, 0.018), 0.01 + abs(rng.gauss(0, 0.03))
    targets, base = int(rng.expovariate(1 / 50)) + 1, rng.uniform(0.02, 0.6)
    return {
        "class": name,
        "name": name,
        "targets": targets,
        "images": 1,
        "baseline": base,
        "estimate": estimate,
        "low": estimate - half,
        "high": estimate + half,
    }


def _curve(rng, end):
    return [end * (1 - 0.6 * 0.86**e) + rng.gauss(0, 0.003) for e in range(30)]


def _speed(rng, names):
    def timed(k, median, batch, memory):
        ratio = 1 + 0.011 * k
        return {
            "median_ms": median * ratio, "p5_ms": median * ratio * 0.985, "p95_ms": median * ratio * 1.06,
            "images_per_second": 1000 * batch / (median * ratio), "ratio": ratio if k else 1.0,
            "ratio_low": ratio - 0.013 if k else 1.0, "ratio_high": ratio + 0.014 if k else 1.0,
            "peak_memory_mb": memory,
        }  # fmt: skip

    settings = [
        (1, "fp32", 5.21, 180.0),
        (1, "fp16", 5.47, 121.0),
        (32, "fp32", 31.2, 2412.0),
        (32, "fp16", 17.9, 1240.0),
    ]
    return {
        "device": "cuda:0",
        "imgsz": 640,
        "baseline": "yolo11n",
        "memory_format": "contiguous_format",
        "environment": {"device": "cuda:0"},
        "measurements": [
            {
                "batch": batch, "precision": precision, "rounds": 200, "unstable": (batch, precision) == (1, "fp16"),
                "spread": 1.1, "drift": 1.0,
                "arms": {name: timed(k, median, batch, memory) for k, name in enumerate(names)},
            }
            for batch, precision, median, memory in settings
        ],
        "left_out": [],
    }  # fmt: skip
