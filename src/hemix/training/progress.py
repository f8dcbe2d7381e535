"""Progress on a terminal: rows done, rows/s, time left and the loss. Silent where nobody looks."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class _RowsPerSecond(ProgressColumn):
    """Speed over the last seconds."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f} rows/s", style="cyan")


class TrainProgress:
    """A progress bar on standard error, shown only if `enabled` and that is a terminal.

    Args:
        total_rows: rows in the budget; None where only time limits it.
        enabled: False never shows anything.
        console: where to draw; None: standard error.
    """

    def __init__(self, total_rows: int | None, *, enabled: bool = True, console: Console | None = None) -> None:
        console = Console(stderr=True) if console is None else console
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} rows"),
            _RowsPerSecond(),
            TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]:.4f}{task.fields[metric]}"),
            console=console,
            disable=not (enabled and console.is_terminal),
            transient=True,
        )
        self._task = self._bar.add_task("train", total=total_rows, epoch=1, loss=float("nan"), metric="")

    def start_at(self, rows: int) -> None:
        """Rows that an earlier session has done; they do not count for the speed."""
        self._bar.reset(self._task, completed=rows)

    def update(self, rows: int, epoch: int, loss: float) -> None:
        """After a step: rows done in all, epoch from 0, loss of the step."""
        self._bar.update(self._task, completed=rows, epoch=epoch + 1, loss=loss)

    def validated(self, step: int, metric: str, value: float) -> None:
        """After a validation: a line above the bar, and the metric in it."""
        if not self._bar.disable:
            self._bar.console.print(f"step {step:,}: valid {metric} {value:.4f}", highlight=False)
        self._bar.update(self._task, metric=f"  {metric} {value:.4f}")

    def __enter__(self) -> "TrainProgress":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._bar.stop()
