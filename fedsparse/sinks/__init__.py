"""Where a run's figures go besides its folder: TensorBoard, MLflow. Results never depend on them."""

from fedsparse.sinks.base import NAMES, Sink, Sinks, named, require

__all__ = ["NAMES", "Sink", "Sinks", "named", "require"]
