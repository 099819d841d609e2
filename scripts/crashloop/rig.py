"""Disks that can be hurt, and limits: what a mode needs from the machine, and always gives back.

A `Disk` is an ext4 or xfs in a file on a loop device. `cut` is a power cut as far as a file system can be told of one: the shutdown
ioctl, without a flush of its journal. A `SickDisk` lies behind qemu-storage-daemon (FUSE), which can be told to fail reads,
writes or flushes below the file system, or be stopped for a while. Everything is a context: what was mounted is unmounted.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import time

from .resp import Skip, Trouble

SHUTDOWN_IOCTL = 0x8004587D
SHUTDOWN_WITHOUT_LOG_FLUSH = 2
COMMAND_TIMEOUT_S = 300
# What each is made by, without a reserve for root where there is one: the server runs as root here, and would take it.
MAKERS = {"ext4": ["mkfs.ext4", "-q", "-F", "-m", "0"], "xfs": ["mkfs.xfs", "-q", "-f"]}
PACKAGES = {"ext4": "e2fsprogs", "xfs": "xfsprogs"}
# What xfs wants at least.
PROBE_MB = {"ext4": 16, "xfs": 320}
SETTLE_POLLS = 600
SETTLE_POLL_S = 0.05


def need_root():
    if os.geteuid() != 0:
        raise Skip("needs root")


def need_command(name, package):
    if shutil.which(name) is None:
        raise Skip("no %s (Debian: %s)" % (name, package))


def command(*words):
    done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)
    if done.returncode != 0:
        raise Trouble("%s: %s" % (" ".join(words), done.stderr.strip() or "exit code %d" % done.returncode))
    return done.stdout.strip()


def poll_until(what, ask):
    """Waits until `ask` answers something true, which is returned."""
    for _ in range(SETTLE_POLLS):
        if answer := ask():
            return answer
        time.sleep(SETTLE_POLL_S)
    raise Trouble("%s: not within %d s" % (what, SETTLE_POLLS * SETTLE_POLL_S))


def need_mounts(home, kind="ext4"):
    """Whether a file system in a file can be mounted here: by doing it."""
    need_root()
    need_command(MAKERS[kind][0], PACKAGES[kind])
    need_command("losetup", "mount")
    try:
        with Disk(os.path.join(home, "probe"), PROBE_MB[kind], kind=kind):
            pass
    except Trouble as error:
        raise Skip("no loop-mounted %s here: %s" % (kind, error)) from None


def need_sick_disk(home):
    need_mounts(home)
    need_command("qemu-storage-daemon", "qemu-system-common or qemu-storage-daemon")
    if not os.path.exists("/dev/fuse"):
        raise Skip("no /dev/fuse")
    try:
        with SickDisk(os.path.join(home, "probe"), 16):
            pass
    except Trouble as error:
        raise Skip("no file system behind qemu-storage-daemon here: %s" % error) from None


class Disk:
    def __init__(self, at, size_mb, mkfs=(), kind="ext4"):
        self.image, self.path, self.kind = at + ".img", at + ".mnt", kind
        self.device, self.mounted = None, False
        with open(self.image, "wb") as image:
            image.truncate(size_mb << 20)
        command(*MAKERS[kind], *mkfs, self.image)
        os.makedirs(self.path, exist_ok=True)

    def backing(self):
        return self.image

    def attach(self):
        self.device = command("losetup", "-f", "--show", self.backing())
        command("mount", "-t", self.kind, self.device, self.path)
        self.mounted = True

    def detach(self):
        if self.mounted:
            # What was killed may need a moment until its descriptors are closed.
            for _ in range(100):
                if subprocess.run(["umount", self.path], capture_output=True).returncode == 0:
                    break
                time.sleep(SETTLE_POLL_S)
            else:
                command("umount", "-l", self.path)
            self.mounted = False
        if self.device is not None:
            command("losetup", "-d", self.device)
            self.device = None

    def cut(self):
        """The file system answers no more, and writes nothing more. Then `detach` and `attach` are the reboot."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN_IOCTL, struct.pack("I", SHUTDOWN_WITHOUT_LOG_FLUSH))
        finally:
            os.close(fd)

    def free_bytes(self):
        stat = os.statvfs(self.path)
        return stat.f_bavail * stat.f_frsize

    def free_files(self):
        return os.statvfs(self.path).f_favail

    def close(self):
        self.detach()
        for remove in (lambda: os.rmdir(self.path), lambda: os.remove(self.image)):
            with contextlib.suppress(OSError):
                remove()

    def __enter__(self):
        try:
            self.attach()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()


class SickDisk(Disk):
    """One daemon a case: a node swapped in is for good, and what it fails stays failed."""

    def __init__(self, at, size_mb, mkfs=()):
        super().__init__(at, size_mb, mkfs)
        self.export, self.control = at + ".exp", at + ".qmp"
        self.daemon, self.bound = None, []

    def backing(self):
        return self.export

    def attach(self):
        open(self.export, "wb").close()
        if os.path.exists(self.control):
            os.remove(self.control)
        self.daemon = subprocess.Popen(
            ["qemu-storage-daemon"]
            + ["--blockdev", "driver=file,node-name=f0,filename=" + self.image]
            + ["--blockdev", "driver=raw,node-name=top,file=f0"]
            + ["--export", "type=fuse,id=e,node-name=top,mountpoint=%s,writable=on" % self.export]
            + ["--chardev", "socket,id=c,path=%s,server=on,wait=off" % self.control, "--monitor", "chardev=c"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

        def exported():
            if self.daemon.poll() is not None:
                raise Trouble("qemu-storage-daemon: " + self.daemon.stderr.read().decode().strip())
            return os.path.getsize(self.export) > 0

        poll_until("the export of qemu-storage-daemon", exported)
        super().attach()

    def bind(self, place):
        """Puts a directory of this disk at `place`."""
        inside = os.path.join(self.path, "inside")
        os.makedirs(inside, mode=0o700, exist_ok=True)
        os.makedirs(place, mode=0o700, exist_ok=True)
        command("mount", "--bind", inside, place)
        self.bound.append(place)

    def fail(self, kind, errno=5):
        """From now on reads, writes or flushes below the file system fail."""
        rule = {"event": "none", "iotype": kind, "errno": errno, "immediately": True, "once": False}
        self.qmp(
            ("blockdev-add", {"driver": "blkdebug", "node-name": "bad", "image": "f0", "inject-error": [rule]}),
            ("blockdev-reopen", {"options": [{"driver": "raw", "node-name": "top", "file": "bad"}]}),
        )

    def qmp(self, *commands):
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(30)
            control.connect(self.control)
            lines = control.makefile("rw")
            lines.readline()
            for name, arguments in (("qmp_capabilities", {}),) + commands:
                lines.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
                lines.flush()
                while "event" in (answer := json.loads(lines.readline())):
                    pass
                if "error" in answer:
                    raise Trouble("qemu-storage-daemon, %s: %s" % (name, answer["error"]["desc"]))

    def stall(self):
        """The disk answers no more. Returns once the daemon has stopped."""
        self.daemon.send_signal(signal.SIGSTOP)
        poll_until("the stop of qemu-storage-daemon", self.is_stopped)

    def is_stopped(self):
        with open("/proc/%d/stat" % self.daemon.pid) as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "T"

    def go_on(self):
        self.daemon.send_signal(signal.SIGCONT)

    def detach(self):
        if self.daemon is not None:
            self.go_on()
        while self.bound:
            place = self.bound.pop()
            if subprocess.run(["umount", place], capture_output=True).returncode != 0:
                command("umount", "-l", place)
        super().detach()
        if self.daemon is not None:
            self.daemon.terminate()
            try:
                self.daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
            self.daemon.stderr.close()
            self.daemon = None
            subprocess.run(["umount", "-l", self.export], capture_output=True)

    def close(self):
        super().close()
        for path in (self.export, self.control):
            with contextlib.suppress(OSError):
                os.remove(path)


class ControlGroup:
    """A memory limit, by either version of control groups."""

    def __init__(self, limit_bytes):
        need_root()
        name = "crash-loop-%d" % os.getpid()
        second = "/sys/fs/cgroup"
        if os.path.exists(os.path.join(second, "cgroup.controllers")):
            self.path = os.path.join(second, name)
            self.limit_file, self.peak_file, self.events_file = "memory.max", "memory.peak", "memory.events"
        elif os.path.isdir("/sys/fs/cgroup/memory"):
            self.path = os.path.join("/sys/fs/cgroup/memory", name)
            self.limit_file, self.peak_file, self.events_file = "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"
        else:
            raise Skip("no memory control group")
        self.limit_bytes = limit_bytes

    def enter_words(self):
        """Goes before a command: a shell that enters the group and becomes the command."""
        return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', self.path]

    def kills(self):
        with open(os.path.join(self.path, self.events_file)) as events:
            return sum(int(line.split()[1]) for line in events if line.split()[0] == "oom_kill")

    def __enter__(self):
        try:
            os.makedirs(self.path, exist_ok=True)
            with open(os.path.join(self.path, self.limit_file), "w") as limit:
                limit.write(str(self.limit_bytes))
        except OSError as error:
            self.__exit__()
            raise Skip("no memory limit can be set: %s" % error) from None
        return self

    def __exit__(self, *_):
        for _ in range(100):
            try:
                os.rmdir(self.path)
                return
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(SETTLE_POLL_S)
