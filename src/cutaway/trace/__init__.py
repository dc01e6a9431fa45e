"""Looking inside: every tensor of a text by its name, what changes when the text or the model does, and the heads."""

from cutaway.trace.forward import Progress, ReuseStats
from cutaway.trace.interventions import Intervention
from cutaway.trace.trace import Trace

__all__ = ["Intervention", "Progress", "ReuseStats", "Trace"]
