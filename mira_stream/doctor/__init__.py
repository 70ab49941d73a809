"""`mira-stream doctor`: facts gathered at the edges (machine, project, broker), verdicts by pure rules."""
