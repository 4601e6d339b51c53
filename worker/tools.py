"""What every part of a worker needs: settings and the connections made from them."""

from dataclasses import dataclass
from typing import Self

from app.kit.broker import Bell
from app.kit.db import SessionFactory, build_engine, build_sessions
from app.kit.storage import Storage, open_storage
from app.settings import Settings


@dataclass(frozen=True)
class Tools:
    """Made once per process; servers are asked only when something is needed of them."""

    settings: Settings
    sessions: SessionFactory
    storage: Storage
    bell: Bell

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Connections to what the settings name."""
        engine = build_engine(settings.resolved_database_url)
        bell = Bell(settings.broker_url)
        return cls(settings, build_sessions(engine), open_storage(settings), bell)
