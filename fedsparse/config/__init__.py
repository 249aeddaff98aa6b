"""Configurations: from ``key=value`` to a checked :class:`RunConfig`, and from there to objects and YAML."""

from fedsparse.config.build import build
from fedsparse.config.files import differences, flat, from_theory, from_yaml, to_yaml, tuning_of
from fedsparse.config.groups import GROUPS
from fedsparse.config.kinds import Group
from fedsparse.config.parse import Job, elsewhere, jobs, parse, values_of
from fedsparse.config.settings import Choice, Local, Ray, RunConfig
from fedsparse.config.specs import OptionSpec

__all__ = [
    "GROUPS",
    "Choice",
    "Group",
    "Job",
    "Local",
    "OptionSpec",
    "Ray",
    "RunConfig",
    "build",
    "differences",
    "elsewhere",
    "flat",
    "from_theory",
    "from_yaml",
    "jobs",
    "parse",
    "to_yaml",
    "tuning_of",
    "values_of",
]
