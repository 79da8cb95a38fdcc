"""Lets ``python -m edgenas.cli`` be the command line too."""

import sys

from edgenas.cli import main

sys.exit(main())
