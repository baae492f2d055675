"""The power of a machine fails: what the kernel had not yet brought to the disk is gone."""

import fcntl
import os
import signal
import struct
import subprocess
import threading
import time

from test_6_crashes import History, check_history, sender
from world import DOMAIN, PASSWORD, unmount, wait_for

SLOW = True
SENDERS = 6
# FS_IOC_SHUTDOWN with FS_SHUTDOWN_FLAGS_NOLOGFLUSH: from now on nothing reaches the disk, the journal included.
SHUTDOWN, NO_LOG_FLUSH = 0x8004587d, 2


class Disk:
    """A file system of its own under the data of one machine, which can lose power."""

    def __init__(self, c, machine):
        self.daemons = [d for d in c.daemons() if d.name.startswith(machine + "/")]
        self.data = os.path.join(self.daemons[0].machine, "data")
        self.image, self.before = self.data + ".image", self.data + ".before"
        self.each(lambda d: d.stop())
        with open(self.image, "wb") as image:
            image.truncate(2 << 30)
        self.run("mkfs.ext4", "-q", self.image)
        os.rename(self.data, self.before)
        os.mkdir(self.data)
        self.run("mount", "-o", "loop", self.image, self.data)
        self.run("cp", "-a", self.before + "/.", self.data)
        self.run("sync", "-f", self.data)
        self.each(lambda d: d.start())

    def each(self, call):
        for daemon in self.daemons:
            call(daemon)

    def run(self, *command):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def fail(self):
        descriptor = os.open(self.data, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def mount_again(self):
        unmount(self.data)
        self.run("mount", "-o", "loop", self.image, self.data)

    def cut_power(self):
        self.fail()
        self.each(lambda d: d.stop(signal.SIGKILL))
        self.mount_again()
        self.each(lambda d: d.start())

    def give_back(self):
        self.each(lambda d: d.stop())
        # Whatever a test that did not come to its end has left: a disk that can be read.
        self.mount_again()
        self.run("rm", "-r", self.before)
        self.run("cp", "-a", self.data, self.before)
        unmount(self.data)
        os.rmdir(self.data)
        os.rename(self.before, self.data)
        os.remove(self.image)
        self.each(lambda d: d.start())


def lose_power(c, machine, durability, times=3):
    names = [f"power-{durability}-{machine}-{i}@{DOMAIN}" for i in range(4)]
    for name in names:
        c.pando("mailbox", "add", name, "--volume", "a1-1", "--durability", durability, "--password", PASSWORD)
        wait_for(name, 3, lambda name=name: c.send("site-a", name))
    disk = Disk(c, machine)
    try:
        c.wait_serving(seconds=60)
        uids_before = {name: c.mailbox(name)[0] for name in names}
        history, stop = History(), threading.Event()
        threads = [threading.Thread(target=sender, args=(c, history, stop, i, names)) for i in range(SENDERS)]
        for thread in threads:
            thread.start()
        for _ in range(times):
            time.sleep(1)
            disk.cut_power()
        time.sleep(1)
        stop.set()
        for thread in threads:
            thread.join()
        c.wait_serving(seconds=60)
        check_history(c, history, uids_before, names)
        assert history.count("ok") > 50, history.count("ok")
        print(f"        {history.count('ok')} ok, {history.count('failed')} failed, "
              f"{history.count('indeterminate')} indeterminate")
    finally:
        disk.give_back()
        c.wait_serving(seconds=60)


def test_power_of_a_primary_fails_and_what_it_acknowledged_alone_is_there(c):
    lose_power(c, "node-a1", "local")


def test_power_of_a_replica_fails_and_it_goes_on_where_it_was(c):
    lose_power(c, "node-b1", "remote")
