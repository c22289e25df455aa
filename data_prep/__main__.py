"""``python -m data_prep``: fetch, verify and make the data sets."""

import sys

from data_prep.commands import main

if __name__ == "__main__":
    sys.exit(main())
