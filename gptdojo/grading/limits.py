"""What one submission may use."""

from dataclasses import dataclass

from gptdojo.sandbox import Isolation

START_CPU_SECONDS = 20
MAX_PROCESSES = 64
MAX_FILE_BYTES = 64 * 2**20
MAX_FILES = 256


@dataclass(frozen=True)
class Limits:
    """What one submission may use: seconds for loading and for each exercise, MiB of memory over all its processes."""

    seconds: float = 20.0
    memory_mib: int = 4096

    def for_worker(self, isolation: Isolation, exercises: int) -> dict[str, int]:
        """Return the limits that the worker sets on itself before it runs the submission."""
        limits = {
            "memory": self.memory_mib * 2**20,
            "cpu": int(self.seconds * (exercises + 1)) + START_CPU_SECONDS,
            "file_size": MAX_FILE_BYTES,
            "files": MAX_FILES,
            "core": 0,
        }
        # without a user or a namespace of its own, the count of processes is that of everything the user runs
        return limits | ({"processes": MAX_PROCESSES} if isolation.seals else {})
