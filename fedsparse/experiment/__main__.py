"""``python -m fedsparse.experiment``."""

import sys

from fedsparse.experiment import main

if __name__ == "__main__":  # processes that carry out runs import this file, too
    sys.exit(main())
