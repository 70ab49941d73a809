"""Any OpenAI-compatible chat endpoint as a teacher (teaching/port.py)."""

from mira_stream.config import Project
from mira_stream.openai_engine.engine import OpenAIEngine, api_key
from mira_stream.scoring.engine import Request
from mira_stream.teaching.cost import bound
from mira_stream.teaching.port import Answer, Question


class OpenAITeacher:
    """One endpoint and one model. Use `start` before and `stop` behind it."""

    def __init__(self, engine: OpenAIEngine, model: str, temperature: float) -> None:
        self._engine = engine
        self._model = model
        self._temperature = temperature

    @classmethod
    def for_project(cls, project: Project, base_url: str) -> "OpenAITeacher":
        """As [teacher] of mira.toml says, at this URL. Raises ConfigError for a wrong URL or a missing key."""
        teacher = project.settings.teacher
        engine = OpenAIEngine(
            [base_url],
            teacher.model,
            api_key=api_key(teacher.api_key_env),
            timeout_s=teacher.request_timeout_s,
            vllm_fields=False,
            urls_key="base_url of [teacher]",
        )
        return cls(engine, teacher.model, teacher.temperature)

    async def start(self) -> None:
        """Raises DependencyError when nothing answers there, ConfigError when the model is not served."""
        await self._engine.start()

    async def stop(self) -> None:
        await self._engine.stop()

    @property
    def model(self) -> str:
        return self._model

    @property
    def temperature(self) -> float:
        return self._temperature

    async def ask(self, question: Question, attempt: int) -> Answer:
        """As the port says. An endpoint that reports no usage is charged the most the question may have taken."""
        request = Request(
            f"{question.key} {attempt}", question.messages, question.max_tokens, self._temperature, seed=attempt - 1
        )
        completion = await self._engine.generate(request)
        most = bound(question)
        return Answer(
            completion.text,
            completion.finish_reason,
            completion.prompt_tokens or most.prompt_tokens,
            completion.generation_tokens or (0 if completion.prompt_tokens else most.generation_tokens),
        )
