"""What stands between a submission and the machine: bubblewrap, else a user of its own, else nothing and it says so."""

from .isolation import Isolation, Unavailable, choose

__all__ = ["Isolation", "Unavailable", "choose"]
