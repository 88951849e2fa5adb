"""`python -m frieze`: the command line, which lies beside this package."""

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", "frieze")
    try:
        os.execv(program, ["frieze", *sys.argv[1:]])
    except OSError as e:
        sys.exit(f"frieze: error: {program}: {e.strerror}")


if __name__ == "__main__":
    main()
