"""What a team would use instead, each in an environment and a process of its own, measured beside this project."""
