"""Learning-rate factor as a pure function of the step, so that a resumed run needs no memory of it."""

import math

from hemix.training.config import ScheduleConfig, TrainConfig


def rate_factor(schedule: ScheduleConfig, step: int, total_steps: int) -> float:
    """Factor on every learning rate for the update after `step` earlier ones.

    Rises to 1 over `warmup_steps` (never 0), then stays, or falls to `floor` at step `total_steps`.

    >>> [rate_factor(ScheduleConfig(kind="linear", warmup_steps=2), step, 6) for step in range(7)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    if schedule.kind == "constant":
        return 1.0
    done = min(1.0, (step - schedule.warmup_steps) / max(1, total_steps - schedule.warmup_steps))
    left = 1.0 - done if schedule.kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
    return schedule.floor + (1.0 - schedule.floor) * left


def planned_steps(config: TrainConfig, num_rows: int) -> int:
    """Steps over which the learning rate decays: `decay_steps`, else those of the budget.

    Whole requests make batches a little uneven, so the steps of an epoch are rows / batch_size rounded up.
    """
    if config.schedule.decay_steps is not None:
        return config.schedule.decay_steps
    limits = [] if config.max_steps is None else [config.max_steps]
    if config.epochs is not None:
        limits.append(config.epochs * math.ceil(num_rows / config.batch_size))
    return max(1, min(limits, default=1))
