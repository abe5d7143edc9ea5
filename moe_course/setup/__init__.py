"""Sets the course up and runs it, with the standard library alone. `course.py` is the way in."""
