"""Stage 1 of MIRA: source groups and their rubrics are found by a teacher's own words."""
