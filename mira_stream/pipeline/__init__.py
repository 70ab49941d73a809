"""All stages of MIRA in order: from raw sources to rubrics, students, masks."""
