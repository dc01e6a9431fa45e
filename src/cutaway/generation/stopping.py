"""Finding stop strings in text that arrives in parts."""

from collections.abc import Sequence


class StopMatcher:
    """Passes text on up to the first stop string; holds back an ending that may be the beginning of one.

    >>> matcher = StopMatcher(["END"])
    >>> matcher.push("The E")
    ('The ', False)
    >>> matcher.push("ND.")
    ('', True)
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(stop)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """Return the text that is safe to show, and whether a stop string was found.

        >>> StopMatcher(["\\n\\n"]).push("The end.\\n")
        ('The end.', False)
        """
        self._held += text
        found = [start for start in map(self._held.find, self._stop) if start >= 0]
        if found:
            shown = self._held[: min(found)]
            self._held = ""
            return shown, True
        cut = len(self._held) - max(map(self._overlap, self._stop), default=0)
        shown = self._held[:cut]
        self._held = self._held[cut:]
        return shown, False

    def _overlap(self, stop: str) -> int:
        """Return the length of the longest suffix of the held text that is a prefix of `stop`."""
        longest = min(len(self._held), len(stop) - 1)
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)

    def finish(self) -> str:
        """Return the text that was held back, at the end of the text.

        >>> matcher = StopMatcher(["END"])
        >>> matcher.push("THE E")
        ('THE ', False)
        >>> matcher.finish()
        'E'
        """
        shown = self._held
        self._held = ""
        return shown
