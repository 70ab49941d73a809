"""`python -m mira_stream`: the same as `mira-stream`."""

import sys

from mira_stream.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
