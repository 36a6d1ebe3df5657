"""What a worker gives up for good before it runs a submission: resources, privileges, system calls."""

import ctypes
import os
import platform
import resource
import struct
from collections.abc import Mapping

PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 4, 38, 22, 2
ALLOW, DENY = 0x7FFF0000, 0x00050000 | 1  # SECCOMP_RET_ERRNO with EPERM
KILL = 0x80000000
LOAD, JUMP_EQUAL, JUMP_GREATER_OR_EQUAL, RETURN = 0x20, 0x15, 0x35, 0x06
X32_BIT = 0x40000000

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
    # parts of the kernel with a large surface that no exercise needs
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "init_module": (175, 105), "finit_module": (313, 273),
    "kexec_load": (246, 104), "open_by_handle_at": (304, 265), "swapon": (167, 224), "reboot": (169, 142),
}  # fmt: skip
SOCKET = (41, 198)
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
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(LIMITS[name], (value, value))


def instruction(code: int, true: int, false: int, value: int) -> bytes:
    """Return one instruction of classic BPF."""
    return struct.pack("HBBI", code, true, false, value)


def seccomp_filter(machine: str, *, sockets: bool) -> bytes:
    """Return a program that refuses the system calls of DENIED, and any other architecture's calls."""
    column = list(ARCHITECTURES).index(machine)
    numbers = [pair[column] for pair in DENIED.values()] + ([] if sockets else [SOCKET[column]])
    program = [
        instruction(LOAD, 0, 0, 4),
        instruction(JUMP_EQUAL, 1, 0, ARCHITECTURES[machine]),
        instruction(RETURN, 0, 0, KILL),
        instruction(LOAD, 0, 0, 0),
        instruction(JUMP_GREATER_OR_EQUAL, len(numbers) + 1, 0, X32_BIT),
    ]
    for position, number in enumerate(numbers):
        program.append(instruction(JUMP_EQUAL, len(numbers) - position, 0, number))
    program += [instruction(RETURN, 0, 0, ALLOW), instruction(RETURN, 0, 0, DENY)]
    return b"".join(program)


def give_up_system_calls(*, sockets: bool) -> None:
    """Forbid new privileges and the system calls of DENIED; without `sockets` also every socket. Raises OSError."""
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
