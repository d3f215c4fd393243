"""The former place of flyball.governor.policy, for one version."""

from .governor.policy import ACTIONS, Configuration, Outcomes, Policy, PolicyState

__all__ = ["ACTIONS", "Configuration", "Outcomes", "Policy", "PolicyState"]
