"""What a training says while it runs, and how it is told to stop."""

import math
import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mira_stream.errors import ConfigError

Say = Callable[[str], None]


class Stop:
    """Ctrl-C and SIGTERM as a wish: the first asks the training to stop after its step, the second interrupts it."""

    def __init__(self) -> None:
        self.wished = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._wish)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _wish(self, number: int, frame: FrameType | None) -> None:
        if self.wished:
            raise KeyboardInterrupt
        self.wished = True


class StopCallback(TrainerCallback):  # type: ignore[misc]
    """Writes a checkpoint and ends the training when a stop is wished, on all processes at the same step."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        if args.world_size > 1:
            wished = torch.tensor(int(self.stop.wished), device=args.device)
            torch.distributed.all_reduce(wished, torch.distributed.ReduceOp.MAX)
            self.stop.wished = bool(wished)
        if self.stop.wished and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True
        return control


class LastMeasurement(TrainerCallback):  # type: ignore[misc]
    """Measures at the last step, wherever it falls: the last checkpoint may be the best."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        if state.global_step >= state.max_steps and args.eval_strategy != "no":
            control.should_evaluate = True
        return control


class Progress(TrainerCallback):  # type: ignore[misc]
    """A line for every entry of the log; the entries get `seconds`, the training time also over restarts.

    Raises ConfigError(training_diverged) when the loss is no number any more.
    """

    def __init__(self, group: str, say: Say) -> None:
        self.group = group
        self.say = say
        self.started = time.monotonic()
        self.before = 0.0
        self.first_step = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self.started = time.monotonic()
        self.before = max((entry.get("seconds", 0.0) for entry in state.log_history), default=0.0)
        self.first_step = state.global_step

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        entry, passed = state.log_history[-1], time.monotonic() - self.started
        entry["seconds"] = round(self.before + passed, 1)
        if not math.isfinite(entry.get("loss", 0.0)):
            raise ConfigError(
                "training_diverged",
                f"{self.group}: the loss is {entry['loss']} at step {state.global_step}",
                "lower learning_rate in distill.toml",
            )
        done = state.global_step - self.first_step
        left = passed / max(1, done) * (state.max_steps - state.global_step)
        if state.is_world_process_zero and (line := progress_line(entry)):
            self.say(f"{self.group} step {state.global_step}/{state.max_steps}  {line}  {left:.0f} s left")


def progress_line(entry: dict[str, float]) -> str:
    """The parts of a log entry a person wants to see; empty for the Trainer's closing entry."""
    words = {
        "loss": "loss {:.3f}", "score_loss": "scores {:.3f}", "tokens_per_s": "{:,.0f} tokens/s",
        "eval_loss": "held-out loss {:.3f}", "eval_rho": "rho {:.3f}", "eval_mae": "MAE {:.2f}",
    }  # fmt: skip
    return "  ".join(text.format(entry[name]) for name, text in words.items() if name in entry)
