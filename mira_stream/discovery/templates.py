"""The prompt templates a new group starts with: shipped by family, layout and mode; a user may replace them."""

from importlib.resources import files
from typing import Final

from mira_stream.config import Project
from mira_stream.prompt import Prompt, fill_prompt, load_prompt
from mira_stream.render import MARKER_TOKENS
from mira_stream.rubric.anchors import Rubric
from mira_stream.sections import GroupSection
from mira_stream.whole_file import replace_file

CHARACTERS_A_TOKEN: Final = 4
CHAT_TOKENS: Final = 32
"""Room for what a chat template writes around two messages."""


def default_templates(settings: GroupSection) -> dict[str, str]:
    """system.txt and user.txt. The user part shows the reply the group's layout and mode ask for."""
    form = settings.layout
    user = "user_scores" if form == "scores_first" and settings.lesson_mode != "rationale" else f"user_{form}"
    folder = files("mira_stream.discovery") / "prompts"
    named = {"system.txt": f"system_{settings.family}.txt", "user.txt": f"{user}.txt"}
    return {name: (folder / shipped).read_text(encoding="utf-8") for name, shipped in named.items()}


def coming_prompt(project: Project, group: str, rubric: Rubric) -> Prompt:
    """The group's prompt as it will be when the templates it does not have are written. Raises as `load_prompt`."""
    folder = project.prompts_path(group)
    shipped = default_templates(project.settings.groups[group])
    system, user = (
        (folder / name).read_text("utf-8") if (folder / name).exists() else shipped[name]
        for name in ("system.txt", "user.txt")
    )
    return fill_prompt(system, user, folder, rubric)


def write_missing_templates(project: Project, group: str) -> list[str]:
    """Write the templates a group does not have; which were written."""
    folder = project.prompts_path(group)
    written = []
    for name, text in default_templates(project.settings.groups[group]).items():
        if not (folder / name).exists():
            replace_file(folder / name, text.encode())
            written.append(name)
    return written


def prompt_room(project: Project, group: str, rubric: Rubric) -> str | None:
    """A warning if prompt, document and reply will hardly fit the group's context; a token is taken as 4 characters."""
    settings = project.settings.groups[group]
    prompt = load_prompt(project.prompts_path(group), rubric)
    characters = len(prompt.system) + len(prompt.user(""))
    tokens = characters // CHARACTERS_A_TOKEN + CHAT_TOKENS
    wanted = tokens + settings.document_tokens_max + MARKER_TOKENS + settings.reply_tokens_max
    if wanted <= settings.context_tokens_max:
        return None
    return (
        f"the prompt of {group} takes about {tokens} tokens: with document and reply about {wanted} of"
        f" context_tokens_max = {settings.context_tokens_max}; use fewer [discovery] examples or a larger context"
    )
