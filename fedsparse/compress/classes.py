"""Whether a compressor is of the class that a strategy needs; if not, why, and what to use instead."""

from __future__ import annotations

from fedsparse.compress.base import Compressor
from fedsparse.compress.identity import Identity
from fedsparse.compress.randk import RandK
from fedsparse.compress.scaled import Scaled
from fedsparse.compress.threshold import Threshold
from fedsparse.errors import ConfigError
from fedsparse.theory import CompressorClass

__all__ = ["name_of", "require"]


def require(
    compressor: Compressor, wanted: CompressorClass, size: int, strategy_name: str, direction: str = "uplink"
) -> None:
    """Refuses a compressor with which the strategy would not converge.

    Args:
        compressor: the strategy's own.
        wanted: the class that the strategy is made for.
        size: d; the class may depend on it.
        strategy_name: for the message.
        direction: ``"uplink"`` or ``"downlink"``.

    Raises:
        ConfigError: the compressor is of another class; says why that matters and what to do.
    """
    if wanted == "unbiased" and compressor.omega(size) is None:
        raise ConfigError(
            f"{strategy_name} needs an unbiased {direction} compressor; "
            f"{name_of(type(compressor))} {_why_biased(compressor, size, direction)}"
        )
    if wanted == "contractive" and compressor.delta(size) is None:
        raise ConfigError(
            f"{strategy_name} keeps what compression left out, and so needs a contractive {direction} compressor; "
            f"{name_of(type(compressor))} {_why_expansive(compressor, size, direction)}"
        )
    if wanted == "either" and compressor.omega(size) is None and compressor.delta(size) is None:
        raise ConfigError(
            f"{strategy_name} needs an unbiased or a contractive {direction} compressor, to keep what it left out; "
            f"{name_of(type(compressor))} {_why_expansive(compressor, size, direction)}"
        )


def name_of(cls: type[Compressor]) -> str:
    """What a compressor is called on the command line: its file, or ``module:Class`` outside of this package."""
    package, _, file = cls.__module__.rpartition(".")
    return file if package == __package__ else f"{cls.__module__}:{cls.__qualname__}"


def _why_biased(compressor: Compressor, size: int, direction: str) -> str:
    match compressor:
        case RandK(unbiased=False):
            return f"with unbiased=false is not scaled by d/k, and so biased: set {direction}.unbiased=true"
        case RandK(values=values) | Identity(values=values):
            return (
                f"with values={values} is biased by the rounding of its values: set {direction}.values=same"
            )
        case Scaled():
            return "divides by 1 + omega, and so is biased: use the inner one by itself"
    kind = "is contractive (biased)" if compressor.delta(size) is not None else "is biased"
    return (
        f"{kind}: its error does not average out over clients and rounds. Use {direction}=randk, "
        f"{direction}=qsgd or {direction}=natural, or a strategy with error feedback, such as strategy=scafcom, "
        "which is made for topk"
    )


def _why_expansive(compressor: Compressor, size: int, direction: str) -> str:
    if isinstance(compressor, Threshold):
        return (
            f"with absolute={compressor.absolute:g} may send nothing at all of a small vector: "
            f"unset {direction}.absolute and give {direction}.relative"
        )
    omega = compressor.omega(size)
    unbiased = "" if omega is None else f"is unbiased with omega={omega:.4g} for d={size} and "
    cause = f"{unbiased}may leave an error larger than the vector, which the memory would amplify"
    if isinstance(compressor, RandK):
        return f"{cause}: set {direction}.unbiased=false, which sends the same entries without the factor d/k"
    if omega is not None:
        return (
            f"{cause}: put it into {direction}=scaled, which divides it by 1 + omega, or use {direction}=topk"
        )
    return f"{cause}: use {direction}=topk or another contractive one"
