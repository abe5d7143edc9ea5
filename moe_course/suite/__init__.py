"""What `course.py test` runs: style, tests, notebooks and browser tests, with one summary."""
