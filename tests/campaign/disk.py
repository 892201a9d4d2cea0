"""A disk that writes down what reaches it: a loop device on a file that this program serves by FUSE.

Every write is logged in its order, and every flush. A power cut is then any prefix of the log, and of what came after
the last flush whatever a disk's own cache may have lost: as dm-log-writes does it, without its kernel module.
The messages are those of linux/fuse.h, protocol 7.31; the root of the mount is the file itself.
"""

import ctypes
import errno
import os
import pathlib
import shlex
import signal
import struct
import subprocess
import time

IN, OUT = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")
RECORD = struct.Struct("<QI")
# No write: everything before it is on the disk for good.
FLUSH = (1 << 64) - 1
MOST = 1 << 20
LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, RELEASE, FSYNC, FLUSHED, INIT, INTERRUPT, DESTROY = (
    1, 2, 3, 4, 14, 15, 16, 18, 20, 25, 26, 36, 38)
BIG_WRITES, MAX_PAGES = 1 << 5, 1 << 22


def command(*words):
    return subprocess.run(list(map(str, words)), check=True, capture_output=True, text=True).stdout.strip()


def serve(fuse, image, log):
    """Answers the kernel until the file is unmounted."""
    content = bytearray(image.read_bytes())

    def attributes():
        size = len(content)
        return struct.pack("<QII", 3600, 0, 0) + struct.pack(
            "<QQQQQQIIIIIIIIII", 1, size, size // 512, 0, 0, 0, 0, 0, 0, 0o100600, 1, 0, 0, 0, 4096, 0)

    def answer(kind, body):
        if kind == INIT:
            major, minor = struct.unpack_from("<II", body)
            return struct.pack("<IIIIHHIIHHI28x", 7, min(minor, 31), MOST, BIG_WRITES | MAX_PAGES, 64, 48, MOST, 1,
                               MOST // 4096, 0, 0)
        if kind in (GETATTR, SETATTR):
            return attributes()
        if kind == OPEN:
            return struct.pack("<QIi", 1, 0, 0)
        if kind == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return bytes(content[offset:offset + size])
        if kind == WRITE:
            _, offset, size = struct.unpack_from("<QQI", body)
            data = body[40:40 + size]
            content[offset:offset + size] = data
            os.write(log, RECORD.pack(offset, size) + data)
            return struct.pack("<II", size, 0)
        if kind == FSYNC:
            os.write(log, RECORD.pack(FLUSH, 0))
            return b""
        return b"" if kind in (RELEASE, FLUSHED) else None

    while True:
        try:
            message = os.read(fuse, MOST + 4096)
        except OSError as error:
            if error.errno in (errno.EINTR, errno.ENOENT):
                continue
            return
        kind, unique = IN.unpack_from(message)[1:3]
        if kind in (FORGET, INTERRUPT):
            continue
        body = answer(kind, message[IN.size:])
        status = -errno.ENOSYS if body is None else 0
        try:
            os.write(fuse, OUT.pack(OUT.size + len(body or b""), status, unique) + (body or b""))
        except OSError as error:
            if error.errno != errno.ENOENT:
                return


def insist(*words):
    """Runs a command until it succeeds. A mount namespace that others made meanwhile holds a copy of what is mounted, as long as it
    lasts."""
    deadline = time.monotonic() + 120
    while (ended := subprocess.run(list(map(str, words)), capture_output=True, text=True)).returncode:
        if time.monotonic() > deadline:
            raise OSError(f"{shlex.join(map(str, words))}: {ended.stderr.strip()}")
        time.sleep(0.1)


class Disk:
    """An ext4 of so many MiB, mounted at `folder`, on a disk that writes everything down."""

    def __init__(self, work, mib):
        self.base, self.file, self.log, self.folder = (work / name for name in ("base.img", "disk", "log", "mounted"))
        with open(self.base, "wb") as image:
            image.truncate(mib << 20)
        command("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.base)
        self.file.touch()
        self.folder.mkdir()
        fuse, log = os.open("/dev/fuse", os.O_RDWR), os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        libc = ctypes.CDLL(None, use_errno=True)
        options = f"fd={fuse},rootmode=100600,user_id=0,group_id=0,max_read={MOST}"
        if libc.mount(b"qrdrop", bytes(self.file), b"fuse", 0, options.encode()):
            raise OSError(ctypes.get_errno(), "FUSE can't be mounted")
        self.server = os.fork()
        if self.server == 0:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            serve(fuse, self.base, log)
            os._exit(0)
        os.close(fuse)
        os.close(log)
        self.loop = command("losetup", "--find", "--show", self.file)
        command("mount", self.loop, self.folder)

    def now(self):
        """How much of the log has been written: everything that was promised by now rests on that."""
        return os.stat(self.log).st_size

    def close(self):
        # Half unmounted is worse than late.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for words in (("umount", self.folder), ("losetup", "-d", self.loop), ("umount", self.file)):
            insist(*words)
        os.waitpid(self.server, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def records(self):
        """As (where it ends in the log, offset or `FLUSH`, bytes)."""
        with open(self.log, "rb") as log:
            while head := log.read(RECORD.size):
                offset, size = RECORD.unpack(head)
                data = log.read(size)
                yield log.tell(), offset, data

    def cut(self, rng, at, image):
        """Makes the image that is left of a power cut at this place of the log; says how many writes were lost."""
        before = [record for record in self.records() if record[0] <= at]
        flushed = max((number for number, (_, offset, _) in enumerate(before) if offset == FLUSH), default=-1)
        # A disk without a cache of its own loses nothing that it has taken.
        keeps, lost = rng.choice([0, 0.5, 1]), 0
        image.write_bytes(self.base.read_bytes())
        with open(image, "r+b") as out:
            for number, (_, offset, data) in enumerate(before):
                if offset == FLUSH:
                    continue
                if number > flushed and rng.random() >= keeps:
                    lost += 1
                    continue
                out.seek(offset)
                out.write(data)
        return lost


class Mounted:
    """An image, mounted for as long as the block lasts."""

    def __init__(self, image, folder):
        self.image, self.folder = image, pathlib.Path(folder)

    def __enter__(self):
        self.folder.mkdir(exist_ok=True)
        command("mount", "-o", "loop", self.image, self.folder)
        return self.folder

    def __exit__(self, *_):
        insist("umount", self.folder)
        # As long as a copy of the mount lasts, another image in this file would be seen as this file system.
        insist("sh", "-c", 'test -z "$(losetup -j "$0")"', self.image)
