"""What a worker gives up for good before it runs a submission: resources, privileges, system calls."""

import ctypes
import os
import platform
import resource
import struct
from collections.abc import Mapping

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
ALLOW, DENY, MISSING = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38  # SECCOMP_RET_ERRNO with EPERM, with ENOSYS
KILL = 0x80000000
LOAD, JUMP_EQUAL, JUMP_GREATER_OR_EQUAL, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # where seccomp_data has them
X32_BIT = 0x40000000
CPU_GRACE_SECONDS = 2

# architecture as in linux/audit.h, then the numbers of asm/unistd.h
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
DENIED = {
    # keys live longer than a process and are shared by all processes of a user
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    # namespaces and mounts
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsmount": (432, 432),
    "fsconfig": (431, 431), "fspick": (433, 433), "mount_setattr": (442, 442),
    # memory that no process need have mapped, so that nobody is seen to hold it
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "memfd_create": (319, 279), "memfd_secret": (447, 447),
    # parts of the kernel with a large surface that no exercise needs
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "acct": (163, 89), "quotactl": (179, 60), "syslog": (103, 116),
    "open_by_handle_at": (304, 265), "swapon": (167, 224), "reboot": (169, 142),
}  # fmt: skip
SOCKET, CLONE, CLONE3 = (41, 198), (56, 220), (435, 435)
FAMILIES = (
    1,
    2,
    10,
    16,
)  # unix, IPv4, IPv6, and netlink, which lists network interfaces; not vsock, which reaches the host
NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW... flag of clone
LIMITS = {
    "memory": resource.RLIMIT_AS,
    "cpu": resource.RLIMIT_CPU,
    "processes": resource.RLIMIT_NPROC,
    "file_size": resource.RLIMIT_FSIZE,
    "files": resource.RLIMIT_NOFILE,
    "core": resource.RLIMIT_CORE,
}


def limit_resources(limits: Mapping[str, int]) -> None:
    """Set limits that the process cannot raise again: bytes, seconds, counts."""
    for name, value in limits.items():
        _, hard = resource.getrlimit(LIMITS[name])
        # SIGXCPU comes at the soft limit, and tells the grader what happened; SIGKILL at the hard one
        highest = value + CPU_GRACE_SECONDS if name == "cpu" else value
        if hard != resource.RLIM_INFINITY:
            value, highest = min(value, hard), min(highest, hard)
        resource.setrlimit(LIMITS[name], (value, highest))


def instruction(code: int, true: int, false: int, value: int) -> bytes:
    """Return one instruction of classic BPF."""
    return struct.pack("HBBI", code, true, false, value)


def seccomp_filter(machine: str, *, sockets: bool) -> bytes:
    """Return a program that refuses the system calls of DENIED, new namespaces, and any other architecture's calls.

    clone3 is missing, so that the C library falls back on clone, whose flags can be seen.
    """
    column = list(ARCHITECTURES).index(machine)
    # a jump is a number of instructions to skip, or the name of the verdict to go to
    program: list[tuple[int, int | str, int | str, int]] = [
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, ARCHITECTURES[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        (JUMP_GREATER_OR_EQUAL, "deny", 0, X32_BIT),
        *((JUMP_EQUAL, "deny", 0, pair[column]) for pair in DENIED.values()),
        (JUMP_EQUAL, "missing", 0, CLONE3[column]),
        (JUMP_EQUAL, 0, 2, CLONE[column]),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (JUMP_ANY_BIT, "deny", "allow", NEW_NAMESPACES),
        (JUMP_EQUAL, 0, "allow", SOCKET[column]),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        *((JUMP_EQUAL, "allow", 0, family) for family in FAMILIES if sockets),
        (RETURN, 0, 0, DENY),
    ]
    verdicts = {"allow": ALLOW, "deny": DENY, "missing": MISSING}
    place = {name: len(program) + number for number, name in enumerate(verdicts)}

    def distance(here: int, jump: int | str) -> int:
        return jump if isinstance(jump, int) else place[jump] - here - 1

    lines = [
        instruction(code, distance(here, true), distance(here, false), value)
        for here, (code, true, false, value) in enumerate(program)
    ]
    return b"".join([*lines, *(instruction(RETURN, 0, 0, value) for value in verdicts.values())])


def give_up_system_calls(*, sockets: bool) -> None:
    """Forbid new privileges and what `seccomp_filter` refuses; without `sockets` also every socket. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    program = seccomp_filter(platform.machine(), sockets=sockets)
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    pointer = ctypes.create_string_buffer(header, len(header))
    for arguments in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(pointer), 0, 0),
    ):
        if libc.prctl(*(ctypes.c_ulong(value) for value in arguments)) != 0:
            raise OSError(ctypes.get_errno(), f"prctl {arguments[0]} failed: {os.strerror(ctypes.get_errno())}")
