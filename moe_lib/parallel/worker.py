"""One process of a launch: python -m moe_lib.parallel.worker package.module:function OUT ARGUMENTS

Calls the function with the JSON object ARGUMENTS and writes what it returns to OUT.json. It ends
when its standard input does, which the process that started it holds open.
"""

import importlib
import json
import os
import sys
import threading
from pathlib import Path


def main(arguments: list[str]) -> None:
    name, out, given = arguments
    threading.Thread(target=_end_with_parent, daemon=True).start()
    module, _, function = name.partition(":")
    result = getattr(importlib.import_module(module), function)(**json.loads(given))
    Path(out + ".json").write_text(json.dumps(result), encoding="utf-8")


def _end_with_parent() -> None:
    while os.read(0, 1):  # raw: a thread in a buffered read would disturb the interpreter's end
        pass
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
