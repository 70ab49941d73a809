"""Every error this package raises on purpose.

MiraError                 code, cause, way out, exit code
├── UsageError            2   the command line asks for something impossible
├── ConfigError           3   the project directory or an environment variable is wrong
├── DependencyError       4   a broker, an engine or a teacher cannot be used
│   └── FolderAway        4   the folder that results go to cannot be used now: a stage waits until it can
├── DataLossError         5   going on would lose documents; refused
├── CheckFailed           1   a check (audit, probe) found a difference
├── BudgetReached         1   the next question to a teacher could pass the budget; all that was paid for is kept
└── StageStopped          4   too many dead letters of one cause that is no document's own
DocumentError             this one document cannot be judged: it becomes a dead letter
EngineError               a request failed; `retriable` says whether the same request may be sent again
ProducerFenced            another owner has taken the partition: a normal end of ownership
└── TransactionExpired    the broker itself ended a transaction for its age, and nobody has taken it
CommitUnknown             a commit whose outcome was not learnt: throw the producer away, read again
"""

from typing import ClassVar


class MiraError(Exception):
    """An error a person must act upon: what happened, why, and what to do."""

    exit_code: ClassVar[int] = 70

    def __init__(self, code: str, cause: str, fix: str) -> None:
        super().__init__(f"{code}: {cause} -> {fix}")
        self.code = code
        self.cause = cause
        self.fix = fix


class UsageError(MiraError):
    exit_code = 2


class ConfigError(MiraError):
    exit_code = 3


class DependencyError(MiraError):
    exit_code = 4


class FolderAway(DependencyError):
    pass


class StageStopped(MiraError):
    exit_code = 4


class DataLossError(MiraError):
    exit_code = 5


class CheckFailed(MiraError):
    exit_code = 1


class BudgetReached(MiraError):
    exit_code = 1


class DocumentError(Exception):
    """One document cannot be judged. `reason` is a word from `messages.REASONS`, `error` says more."""

    def __init__(self, reason: str, error: str) -> None:
        super().__init__(f"{reason}: {error}")
        self.reason = reason
        self.error = error


class EngineError(Exception):
    """A request to an engine failed; send it again only if `retriable`, and not before `retry_after_s` if given.
    `sent`: whether it left this process."""

    def __init__(self, message: str, *, retriable: bool, retry_after_s: float | None = None, sent: bool = True) -> None:
        super().__init__(message)
        self.retriable = retriable
        self.retry_after_s = retry_after_s
        self.sent = sent


class ProducerFenced(Exception):
    """Another process initialised the same transactional id: it owns the partition now."""


class TransactionExpired(ProducerFenced):
    """Nobody took over: the broker ended the transaction, for it was older than its timeout."""


class CommitUnknown(Exception):
    """The broker did not say whether the transaction was committed."""
