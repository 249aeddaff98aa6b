"""What the figures come to, in plain words."""

from __future__ import annotations

import math

from fedsparse.report.budgets import Ranking
from fedsparse.report.comparison import Comparison
from fedsparse.report.fairness import few
from fedsparse.report.groups import Group
from fedsparse.units import number_text

__all__ = ["advice", "value_text"]


def advice(c: Comparison) -> list[str]:
    """Sentences: whom to take under a budget and by which margin, at which cost each is best, what a target takes."""
    if len(c.groups) < 2:
        return [f"One configuration, {_seeds(len(c.groups[0].runs))}: there is nothing to compare it with."]
    said = [_at(c, budget) for budget in _budgets(c)]
    said += [_ends(c), _front(c), _target(c)]
    return [sentence for sentence in said if sentence]


def value_text(mean: float, half: float) -> str:
    """``0.938 ± 0.042``, two digits of the interval; a dash where there is no value, no interval of one seed."""
    if not math.isfinite(mean):
        return "–"
    if not math.isfinite(half) or not 0 < half < 1e4 or not 1e-3 <= abs(mean) < 1e4:
        return number_text(mean) + (f" ± {half:.2g}" if math.isfinite(half) else "")
    digits = max(0, 1 - math.floor(math.log10(half)))
    return (
        f"{mean:.{digits}f} ± {half:.{digits}f}" if digits <= _DIGITS else f"{number_text(mean)} ± {half:.1g}"
    )


_DIGITS = 6


def _budgets(c: Comparison) -> list[float]:
    return list(c.asked_budgets) or ([c.equal_budget] if math.isfinite(c.equal_budget) else [])


def _at(c: Comparison, budget: float) -> str:
    found = c.at(budget)
    amount = f"{c.axis.text(budget)} {_spent(c)}".strip()
    if found.leader is None:
        return f"Within {amount} nothing was evaluated yet."
    return f"Within {amount} take {c.groups[found.leader].label}: {_standing(c, found)}"


def _spent(c: Comparison) -> str:
    return {"up_bytes": "from clients", "total_bytes": "both ways", "radio_bytes": "on the air"}.get(
        c.axis.name, "of network time" if c.axis.name == "virtual_s" else "" if c.axis.unit else c.axis.label
    )


def _standing(c: Comparison, found: Ranking) -> str:
    """The leader's value, its margin, and who cannot be told from it."""
    leader = found.order[0]
    best = found.estimates[leader]
    text = f"{c.metric} {value_text(best.mean, best.half)} over {_seeds(best.count)}"
    second = found.runner_up
    if second is None:
        return f"{text}; the others have no value there."
    margin = abs(best.mean - found.estimates[second].mean)
    side = "below" if c.lower else "above"
    text += (
        f", {margin:.2g} {side} {c.groups[second].label}"
        if margin
        else f", level with {c.groups[second].label}"
    )
    alike = [place for place in found.order[1:] if found.within_noise(place)]
    if not alike:
        return f"{text}, which is more than noise (p = {found.p[second]:.2g})."
    untested = all(math.isnan(found.p[place]) for place in alike)
    names = few([c.groups[place].label for place in alike])
    if untested:
        return f"{text}. With one common seed no difference to {names} can be called real."
    least = min(found.p[place] for place in alike if math.isfinite(found.p[place]))
    return f"{text}. Within noise: {names} (p = {least:.2g}{' or more' * (len(alike) > 1)}); more seeds could tell."


def _ends(c: Comparison) -> str:
    """Who ends best, where that is not said already."""
    leader = c.ends.leader
    if leader is None or _same(c):
        return ""
    cost = c.curves[leader].costs.get(c.axis.name)
    spent = f", having spent {c.axis.text(float(cost[-1]))}" if cost is not None and len(cost) else ""
    return f"At the end of all runs {c.groups[leader].label} is best{spent}: {_standing(c, c.ends)}"


def _same(c: Comparison) -> bool:
    """Whether all groups have spent alike, so that the ends are the comparison at the budget."""
    ends = [
        float(curve.costs[c.axis.name][-1]) for curve in c.curves if len(curve.costs.get(c.axis.name, ()))
    ]
    return not c.asked_budgets and bool(ends) and max(ends) <= 1.001 * min(ends)


def _front(c: Comparison) -> str:
    """Who is best at which cost, without turns so short that they are chance."""
    long = [s for s in c.front if s.end > _SHORT * s.start]
    parts: list[str] = []
    for before, stretch, after in zip([None, *long], long, [*long[1:], None], strict=False):
        if before is not None and before.group == stretch.group:
            continue
        label = c.groups[stretch.group].label
        parts.append(f"{label} from {c.axis.text(stretch.start)}" + ("" if after else " on"))
    if len(parts) < 2:
        return ""
    more = f", and {len(parts) - _TURNS} more turns" if len(parts) > _TURNS else ""
    return f"Best mean by {c.axis.label}: {', '.join(parts[:_TURNS])}{more}."


_SHORT = 1.5
_TURNS = 5


def _target(c: Comparison) -> str:
    if c.target is None:
        return ""
    needs = [(c.needed(group, c.axis).median, group) for group in c.groups]
    reached = sorted(((need, g) for need, g in needs if math.isfinite(need)), key=lambda pair: pair[0])
    missed = [group for need, group in needs if not math.isfinite(need)]
    goal = f"{c.metric} {number_text(c.target)}"
    if not reached:
        return f"No method reached {goal} with half of its seeds or more."
    best = f"{goal[0].upper()}{goal[1:]} takes {reached[0][1].label} {c.axis.text(reached[0][0])}"
    return f"{best}{_against(reached)}{_missed(missed)}."


def _against(reached: list[tuple[float, Group]]) -> str:
    if len(reached) < 2 or reached[0][0] <= 0:
        return " (median)"
    times = [_times(need / reached[0][0]) for need, _ in (reached[1], reached[-1])]
    text = f" (median); {reached[1][1].label} {times[0]}"
    return text + (f", {reached[-1][1].label} {times[1]}" if len(reached) > 2 else "")


def _times(ratio: float) -> str:
    return (
        "as much"
        if ratio < 1.05
        else f"{ratio:.2g} times as much"
        if ratio < 100
        else f"{ratio:,.0f} times as much"
    )


def _missed(groups: list[Group]) -> str:
    if not groups:
        return ""
    return f"; {few([g.label for g in groups])} did not reach it with half of the seeds"


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"
