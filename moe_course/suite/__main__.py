"""`course.py test`: everything, or pytest with the reader's own arguments."""

import sys

from moe_course.suite.stages import fetch_models, run_pytest, run_stages

if __name__ == "__main__":
    arguments = sys.argv[1:]
    try:
        if arguments:
            sys.exit(run_pytest(arguments))
        fetch_models()
        sys.exit(run_stages())
    except KeyboardInterrupt:
        sys.exit(130)
