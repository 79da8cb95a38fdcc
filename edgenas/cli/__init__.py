"""The command line: each verb parses, makes one library call and prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (see docs/formats.md)."""
    from edgenas.cli.app import app
    from edgenas.cli.screen import say
    from edgenas.core.errors import EdgenasError

    try:
        app(args=None if arguments is None else list(arguments), prog_name="edgenas")
    except EdgenasError as error:
        say(f"error: {error}", style="bold red")
        return error.exit_code
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code == INTERRUPTED:
            say("interrupted; run the same command again and it goes on where it was")
        return code
    except BrokenPipeError:  # the reader of our output has gone, as in `edgenas ... | head`
        sys.stderr.close()
        return 1
    return 0


INTERRUPTED = 130
