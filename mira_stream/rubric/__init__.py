"""Rubrics: a group's fifteen anchor dimensions."""
