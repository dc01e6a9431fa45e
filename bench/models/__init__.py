"""The one model that all engines run, in the format of each."""
