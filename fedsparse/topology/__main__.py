"""``python -m fedsparse.topology``."""

import sys

from fedsparse.topology import main

sys.exit(main())
