"""``python -m fedsparse.report``."""

import sys

from fedsparse.report import main

sys.exit(main())
