"""Traces of a forward pass: every intermediate tensor by name, interventions, the logit lens, attention heads."""

from cutaway.trace.forward import Progress, ReuseStats
from cutaway.trace.interventions import Intervention
from cutaway.trace.trace import Trace

__all__ = ["Intervention", "Progress", "ReuseStats", "Trace"]
