"""The group file: one TOML for the whole group, checked before anything is started."""

from edge.settings.model import Settings

__all__ = ["Settings"]
