"""How fast is this project here? Measured runs, their intervals, what a corpus takes."""
