"""What runs come to, side by side: tables, figures and a page, made of run folders only."""

from fedsparse.report.command import main

__all__ = ["main"]
