"""A key of the cluster in the wrong hands: what one frame can do, and cannot."""

import os
import socket
import ssl
import struct

from test_5_decisions import NODE, OTHER, names_of, psql
from test_6_restarts import SERVED_S, processes
from world import wait_for

SLOW = True
# proto/cluster: kinds of messages, and a frame that holds one.
HELLO, EPOCH, MAGIC, MESSAGE = 1, 16, 0x31524650, 1
# Above any that was given; one that nobody is near.
LATER = 1000


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def varint(number):
    out = b""
    while number > 0x7f:
        out += bytes([number & 0x7f | 0x80])
        number >>= 7
    return out + bytes([number])


def frame(**fields):
    numbers = {"kind": 1, "volume": 2, "epoch": 3, "node": 8, "process": 15}
    payload = b"".join(varint(numbers[name] << 3) + varint(value) for name, value in fields.items())
    return struct.pack("<IIII", MAGIC, len(payload), crc32c(payload), MESSAGE) + payload


class Thief:
    """Speaks to the other site's replicator with the key of one that is down."""

    def __init__(self, c, node, number):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(os.path.join(c.folder, "authority.pem"))
        context.load_cert_chain(*(os.path.join(c.tls, f"{node}-replicator.{end}") for end in ("pem", "key")))
        plain = socket.create_connection(("127.0.0.1", c.node_ports("site-b", 1)["replicator"]), 10)
        self.line = context.wrap_socket(plain)
        self.line.sendall(frame(kind=HELLO, node=number, process=4711))
        # It greets when it has taken the greeting.
        assert self.line.recv(1 << 16)

    def show(self, volume, epoch):
        self.line.sendall(frame(kind=EPOCH, volume=volume, epoch=epoch))

    def close(self):
        self.line.close()


def test_an_epoch_that_a_stolen_key_shows_stops_no_volume(c):
    c.heal()
    volumes, users = names_of(c)
    volume, name = c.home(users[0])["volume"], users[0]
    row = {v["volume"]: v for v in c.pando_json("volume", "list")}
    before = c.mailbox(name)[0]
    shown = row[volume]["epoch"] + LATER
    replicator = processes(c, NODE, "replicator")[0]
    replicator.stop()
    try:
        thief = Thief(c, NODE, int(psql(c, f"select id from node where name = '{NODE}'")))
        thief.show(row[volume]["id"], shown)
        # The copy there confirms nothing below it any more, and that is told before it is missed.
        wait_for("check to name it", 10, lambda: any(
            r["what"] == f"volume {volume}" and f"heard of epoch {shown}, which is later" in r["detail"]
            for r in c.pando_json("check", "--volume", volume, check=False)))
        thief.close()
    finally:
        replicator.start()
    wait_for("an epoch above it", SERVED_S, lambda: next(
        v["epoch"] for v in c.pando_json("volume", "list") if v["volume"] == volume) > shown)
    c.wait_serving(seconds=SERVED_S)
    c.heal()
    c.wait_mail(name, c.send("site-b", name))
    after = c.mailbox(name, "site-b")[0]
    # Nothing is gone or under another number, nobody was asked, and its neighbours have not noticed.
    assert before.items() <= after.items() and len(after) == len(before) + 1 and min(set(after) - set(before)) > max(before, default=0)
    now = {v["volume"]: v["epoch"] for v in c.pando_json("volume", "list")}
    assert all(now[v] == row[v]["epoch"] for v in volumes if v != volume), (row, now)
    assert OTHER in {r["replica"] for r in c.lag() if r["volume"] == volume and r["lag_bytes"] == 0}
