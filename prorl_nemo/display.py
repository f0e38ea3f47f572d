"""What a person sees while a campaign runs: a live table, or plain lines without a terminal."""

from __future__ import annotations

import time

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from prorl_nemo.step_record import StepRecord

COLUMNS = (
    "step",
    "reward",
    "validation",
    "entropy",
    "KL",
    "clip low/high",
    "pass rate",
    "generated/used",
    "reset",
    "ETA",
)
ROWS_SHOWN = 12


class ProgressDisplay:
    """A ``MetricsWriter`` for the eye. Steps and ETA are those of the whole campaign."""

    def __init__(self, *, total_steps: int, console: Console | None = None) -> None:
        self._console = console or Console()
        self._total = total_steps
        self._rows: list[tuple[str, ...]] = []
        self._seconds: list[float] = []
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=self._console,
        )
        self._steps = self._bar.add_task("steps", total=total_steps)
        self._live: Live | None = None

    def write(self, record: StepRecord) -> None:
        """Show one step."""
        self._seconds.append(record.seconds.get("seconds", 0.0))
        row = self._row(record)
        if not self._console.is_terminal:
            pairs = [f"{name} {value}" for name, value in zip(COLUMNS, row, strict=True) if value]
            self._console.print("  ".join(pairs), soft_wrap=True, highlight=False)
        else:
            self._rows = [*self._rows, row][-ROWS_SHOWN:]
            self._show(record.step)
        message = record.sampling.message if record.sampling is not None else None
        if message:
            self.say(f"step {record.step}: {message}")

    def warm_start(self, total: int) -> WarmStartProgress:
        """A progress line for the supervised steps of the tiny model."""
        return WarmStartProgress(self, total)

    def say(self, text: str) -> None:
        """Print a line above the table."""
        self._console.print(text, soft_wrap=True, highlight=False)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _show(self, step: int) -> None:
        if self._live is None:
            self._live = Live(console=self._console, transient=False)
            self._live.start()
        self._bar.update(self._steps, completed=step)
        table = Table(box=None, padding=(0, 1))
        for name in COLUMNS:
            table.add_column(name, justify="right")
        for row in self._rows:
            table.add_row(*row)
        grid = Table.grid()
        grid.add_row(table)
        grid.add_row(self._bar)
        self._live.update(grid, refresh=True)

    def _row(self, record: StepRecord) -> tuple[str, ...]:
        sampling, batch, train = record.sampling, record.batch, record.train
        recent = self._seconds[-20:]
        eta = (self._total - record.step) * sum(recent) / len(recent)
        return (
            f"{record.step}/{self._total}",
            _number(sampling.reward_mean if sampling else None),
            _number(record.validation_score),
            _number(batch.entropy if batch else None),
            f"{batch.kl:.2e}" if batch else "",
            f"{train.clip_fraction_low:.3f}/{train.clip_fraction_high:.3f}" if train else "",
            _number(sampling.pass_rate if sampling else None),
            f"{sampling.num_groups_generated}/{sampling.num_groups_used}" if sampling else "",
            record.reset or "",
            time.strftime("%H:%M:%S", time.gmtime(eta)) if eta < 86400 else f"{eta / 86400:.1f} d",
        )


class WarmStartProgress:
    """Callable with (steps done, loss); prints every tenth of the way."""

    def __init__(self, display: ProgressDisplay, total: int) -> None:
        self._display = display
        self._total = total

    def __call__(self, step: int, loss: float) -> None:
        if step == self._total or step % max(1, self._total // 10) == 0:
            self._display.say(f"warm start  step {step}/{self._total}  loss {loss:.3f}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
