"""When to speak up again: soon at first, ever more rarely as time goes on."""


class Pace:
    """Due after ``shortest`` seconds at first, later after a share of the time that has passed.

    The times between then grow geometrically: a day has some seventeen hundred of them, a second
    day only a hundred and forty more.
    """

    def __init__(self, began: float, shortest: float, share: float = 1 / 200) -> None:
        self._began = began
        self._shortest = shortest
        self._share = share
        self._spoke: float | None = None

    def due(self, now: float) -> bool:
        """Whether it is time, on the same clock as ``began``."""
        if self._spoke is None:
            return True
        pause = max(self._shortest, (self._spoke - self._began) * self._share)
        return now - self._spoke >= pause

    def spoke(self, now: float) -> None:
        """Note that something was said."""
        self._spoke = now
