"""Makes the file of one of the demo's own sources: `python -m mira_stream.pipeline.corpus PROJECT SOURCE`.

As many documents as labels are wanted of, to train on and to measure on: `label` then draws all of them.
"""

import sys
from pathlib import Path

from mira_stream.config import load_project
from mira_stream.demo.material import write_labelled


def main() -> int:
    """Writes the source's file; prints how many documents there are."""
    root, name = sys.argv[1:]
    project = load_project(Path(root))
    wanted = project.settings.labels
    path = project.path(project.settings.sources[name].path)
    count = write_labelled(path, name, wanted.documents, wanted.heldout)
    print(f'{{"source": "{name}", "documents": {count}}}')
    return 0


if __name__ == "__main__":
    sys.exit(main())
