"""The parts of a trainer class, and their order."""

from ultralytics.models.yolo.detect import DetectionTrainer

from yolo_attn.compare.host import _compared
from yolo_attn.compare.trainer import ComparisonMixin
from yolo_attn.gates.host import GateLog
from yolo_attn.host.trainer import TrainerHooks
from yolo_attn.train.outcome import OutcomeMixin
from yolo_attn.train.resume import ResumeMixin
from yolo_attn.train.trainer import RowTransferMixin, TrainerMixin, trainer_class

ORDER = [OutcomeMixin, RowTransferMixin, GateLog, ResumeMixin, TrainerHooks, DetectionTrainer]
HOOKS = ["setup_training", "build_loaders", "set_training_mode", "recover_from_nan"]
PRIVATE = ["_setup_train", "_build_train_pipeline", "_model_train", "_handle_nan_recovery"]


def order_of(cls, parts):
    return [part for part in cls.__mro__ if part in parts]


def test_the_parts_of_a_trainer_stand_in_their_order():
    assert order_of(trainer_class(DetectionTrainer), ORDER) == ORDER


def test_a_comparison_stands_before_all_of_them():
    parts = [ComparisonMixin, *ORDER]
    assert order_of(_compared(trainer_class(DetectionTrainer)), parts) == parts


def test_only_the_hooks_override_what_is_private():
    """So that the order of the parts decides over every hook."""
    mixins = [ComparisonMixin, TrainerMixin, OutcomeMixin, RowTransferMixin, GateLog, ResumeMixin]
    assert [(m, name) for m in mixins for name in PRIVATE if name in vars(m)] == []
    assert set(PRIVATE) <= set(vars(TrainerHooks))
    assert [name for name in HOOKS if hasattr(DetectionTrainer, name)] == []


def test_each_private_method_calls_its_hook_and_the_hook_the_host():
    called = []

    class Host:
        def __init__(self):
            pass

        def _setup_train(self):
            called.append("host")

        _build_train_pipeline = _model_train = _setup_train

        def _handle_nan_recovery(self, epoch):
            called.append(epoch)
            return True

    class Mixin(TrainerHooks):
        def setup_training(self):
            called.append("mixin")
            super().setup_training()

        build_loaders = set_training_mode = lambda self: called.append("mixin")

    trainer = type("Trainer", (Mixin, Host), {})()
    trainer._setup_train()
    trainer._build_train_pipeline()
    trainer._model_train()
    assert trainer._handle_nan_recovery(7)
    assert called == ["mixin", "host", "mixin", "mixin", 7]
    assert trainer.holds_frozen_norms()
    assert trainer.recovers_from_nan()
    assert not type("Old", (Mixin, object), {})().recovers_from_nan()


def test_an_own_trainer_of_a_user_gets_the_parts_once():
    cls = trainer_class(DetectionTrainer)
    assert trainer_class(cls) is cls
    mine = type("Mine", (DetectionTrainer,), {"__module__": DetectionTrainer.__module__})
    assert order_of(trainer_class(mine), [*ORDER, mine]) == [*ORDER[:-1], mine, DetectionTrainer]
