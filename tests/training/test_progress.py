"""The bar on a terminal, and silence elsewhere."""

import io

import pytest
from rich.console import Console

from hemix.training.progress import TrainProgress


def shown(*, terminal: bool, enabled: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120, _environ={})
    with TrainProgress(1000, enabled=enabled, console=console) as progress:
        progress.start_at(0)
        for step in range(1, 5):
            progress.update(step * 100, 0, 0.5)
        progress.validated(4, "auc", 0.75)
        progress.update(500, 1, 0.25)
    return stream.getvalue()


def test_a_terminal_sees_rows_speed_loss_and_metric() -> None:
    text = shown(terminal=True, enabled=True)
    assert "epoch 2" in text
    assert "500 rows" in text
    assert "loss 0.2500" in text
    assert "step 4: valid auc 0.7500" in text


@pytest.mark.parametrize(("terminal", "enabled"), [(False, True), (True, False)])
def test_nobody_else_sees_anything(terminal: bool, enabled: bool) -> None:
    assert shown(terminal=terminal, enabled=enabled) == ""
