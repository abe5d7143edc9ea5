"""Start here: `python3 course.py lab`, `python3 course.py test` or `python3 course.py doctor`.

Needs nothing but Python. The work is done in moe_course/setup/; this file stays simple enough for
an old Python to read, so that it can say in one line that it is too old.
"""

import sys

OLDEST_PYTHON = (3, 11)


def main():
    if sys.version_info < OLDEST_PYTHON:
        found = "%d.%d" % tuple(sys.version_info[:2])
        wanted = "%d.%d" % OLDEST_PYTHON
        sys.stderr.write(
            "The course needs Python %s or newer and this is Python %s: install a newer one "
            "from python.org "
            "or your system's packages, then start course.py with it.\n" % (wanted, found)
        )
        return 1
    from moe_course.setup.commands import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
