"""The live check of a student: a sample of scored documents goes to the teacher, too."""
