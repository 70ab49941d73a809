"""Programs that are run as files, each by the interpreter of its environment."""
