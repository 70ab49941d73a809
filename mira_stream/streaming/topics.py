"""The project's topics: which there are, how many partitions, which are compacted."""

from mira_stream.config import Project
from mira_stream.streaming.ports import TopicSpec


def topic_specs(project: Project) -> list[TopicSpec]:
    """All topics of a project, documents' topics first.

    Whatever a restart or an audit must read again is kept for ever: policies, the score log, its epochs and windows,
    and the labels of the watch, which were paid for.
    """
    many = project.settings.topics.partitions
    documents = [TopicSpec(project.documents_topic(group), many) for group in sorted(project.settings.groups)]
    return [
        *documents,
        TopicSpec(project.topic("scores"), many, kept=True),
        TopicSpec(project.topic("decisions"), many),
        TopicSpec(project.topic("epochs"), many, kept=True),
        TopicSpec(project.topic("windows"), many, kept=True),
        TopicSpec(project.topic("state"), many, compacted=True),
        TopicSpec(project.topic("progress"), many, compacted=True),
        TopicSpec(project.topic("exports"), many, compacted=True),
        TopicSpec(project.topic("dead-letters"), many),
        TopicSpec(project.topic("teacher-labels"), many, kept=True),
        TopicSpec(project.topic("ingest"), 1, compacted=True),
        TopicSpec(project.topic("policy"), 1, kept=True),
    ]
