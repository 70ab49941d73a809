"""What of a run's prompts was computed, and what of a corpus' will be: the rest comes from the prefix cache. Pure.

A prompt is a head that all share, its document, and a tail that all share. Of the head a part comes from the cache
(whole blocks of it, and not for the first prompts); everything else is computed. A corpus has other documents in the
same frame.
"""

from msgspec import Struct

from mira_stream.benching.frame import Frame
from mira_stream.benching.result import Run, frame_of, prompts_of
from mira_stream.planning.corpus import Corpus


class Prompts(Struct, frozen=True, kw_only=True):
    """Tokens a prompt, in the mean; `cached` of them came from the prefix cache. `frame` is null where the run does not
    say it."""

    tokens: float
    cached: float
    frame: Frame | None

    @property
    def computed(self) -> float:
        return self.tokens - self.cached

    @property
    def head(self) -> int:
        """Of a run that does not say it, what was cached: it is no less, unless documents came twice."""
        return round(self.cached) if self.frame is None else self.frame.head

    def computed_of(self, corpus: Corpus) -> float:
        """Of a prompt of the corpus: the whole document, the tail, and of the head what the run had to compute."""
        served = min(1.0, self.cached / self.head) if self.head else 0.0
        tail = 0 if self.frame is None else self.frame.tail
        return corpus.prefix_tokens * (1 - served) + corpus.mean_length + tail


def prompts_in(run: Run, scored: int) -> Prompts:
    """Of a run that scored so many documents: of runs that do not count prompts it is one for each of these."""
    count = prompts_of(run.turns) or scored
    return Prompts(
        tokens=sum(turn.prompt_tokens for turn in run.turns) / count,
        cached=sum(turn.cached_tokens for turn in run.turns) / count,
        frame=frame_of(run.turns),
    )
