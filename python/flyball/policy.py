"""The former place of flyball.governor.policy, for one version."""

import warnings

from .governor.policy import ACTIONS, Configuration, Outcomes, Policy, PolicyState

__all__ = ["ACTIONS", "Configuration", "Outcomes", "Policy", "PolicyState"]

warnings.warn("flyball.policy is flyball.governor.policy now", DeprecationWarning, stacklevel=2)
