"""IRM: the rule-based reward of a predicted answer, by profile.

``paper`` is the table of the paper's section on the reward mechanism; docs/rewards.md has all of them.
"""

from __future__ import annotations

from tl_jax.tooluse.rewards.grade import Profile
from tl_jax.tooluse.rewards.profiles import PROFILES, resolve_profile
from tl_jax.tooluse.rewards.table import RewardTable
from tl_jax.tooluse.rewards.verdict import Explanation, Reward, one_line
from tl_jax.tooluse.schema import Case

__all__ = ["PROFILES", "Explanation", "Profile", "Reward", "RewardTable", "explain", "resolve_profile", "score"]


def score(prediction: str, case: Case, profile: str | Profile = "paper") -> Reward:
    """The reward of a whole completion: the best over the gold alternatives. Never raises for any prediction.

    Args:
        profile: one of `PROFILES`, the path of a YAML file with a table of your own, or a profile itself.

    Raises:
        UserError: an unknown profile or a bad file.
        ValueError: a case without gold.

    Example:
        >>> from tl_jax.tooluse.schema import Call, Message, Tool
        >>> search = Tool("search", parameters={"properties": {"query": {"type": "string"}}})
        >>> gold = Call("search", {"query": "love"})
        >>> case = Case("1", (search,), (Message("user", "Look for love."),), ((gold,),))
        >>> score("search(keyword='love')", case)  # doctest: +NORMALIZE_WHITESPACE
        Reward(value=-1.3, category='hallucinated_parameter',
               explanation="hallucinated_parameter: 'keyword'; missing_parameter: 'query': -0.8 -0.5 = -1.3")
    """
    chosen = resolve_profile(profile)
    verdict = chosen.grade(prediction, case)
    return Reward(verdict.value, verdict.category, one_line(verdict.faults, chosen.arithmetic(verdict)))


def explain(prediction: str, case: Case, profile: str | Profile = "paper") -> Explanation:
    """As `score`, with the faults, the offending arguments and the arithmetic one by one."""
    chosen = resolve_profile(profile)
    verdict = chosen.grade(prediction, case)
    return Explanation(verdict.value, verdict.category, verdict.faults, chosen.arithmetic(verdict))
