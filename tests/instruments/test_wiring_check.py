"""No sound model is warned of, and every fault that was made in a stock model is named."""

import pytest
from instruments.wiring import FAMILIES, alarms, faults, is_named, models
from support.tiers import sampled


@pytest.mark.campaign
@pytest.mark.filterwarnings("ignore:.*the largest that fits:UserWarning")
def test_no_false_alarm_at_any_scale():
    assert [(file.name, scale) for file, scale, model in models() if alarms(model)] == []


@pytest.mark.parametrize("family", sampled(FAMILIES, ["yolo11"]))
def test_every_fault_is_named(family):
    assert [(kind, where) for kind, where, model in faults(family) if not is_named(model)] == []
