"""The log of a replica rots, and its primary is gone."""

import glob
import os
import signal
import subprocess

import demo
from test_5_decisions import NODE, OTHER, is_at, names_of
from test_6_disks import data_of, start, stop
from test_6_restarts import Book, flip, last_bytes, logged, mine, volume_ids
from world import wait_for

SLOW = True


def failover(c):
    done = subprocess.run([demo.PANDO, "--config", c.conf, "failover", NODE], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60)
    return done.returncode, done.stdout


def segments_of(c, node, number):
    """Up to the one that the log ends in: the next is made before it is needed, and stands there empty."""
    paths = sorted(glob.glob(os.path.join(data_of(c, node, "volumes"), str(number), "0*.log")))
    return [path for path in paths if last_bytes(path) >= 0]


def last_segment(c, node, number):
    return segments_of(c, node, number)[-1]


def fill_last_segments(c, users, least=500000):
    """With new mail, as earlier tests may have left a log just at the start of a segment."""
    for _ in range(20):
        if all(last_bytes(last_segment(c, NODE, number)) > least for number in volume_ids(c)):
            break
        for name in users:
            c.send("site-b", name, size=100000)
    c.wait_serving()
    wait_for("nothing at risk", 10, lambda: c.pando_json("at-risk") == [])


def is_read(book, c, users):
    try:
        book.look(c, users)
    except Exception:  # noqa: a refused FETCH, whoever reads
        return False
    return True


def count_logged(c, daemon, event):
    with open(c.daemon(daemon).log, encoding="utf-8") as file:
        return file.read().count(f" {event} ")


def test_the_only_copy_left_is_damaged_and_serves_and_is_mended_later(c):
    c.heal()
    book, users = Book(), mine(c)
    volumes, _ = names_of(c)
    for name in users:
        for _ in range(5):
            c.send("site-b", name, size=100000)
    fill_last_segments(c, users)
    book.look(c, users)
    stop(c, NODE)
    stop(c, OTHER, signal.SIGTERM)
    for number in volume_ids(c):
        # In mail that is there: room of what was expunged may have been given back in earlier segments.
        path = last_segment(c, OTHER, number)
        assert last_bytes(path) > 350000, path
        flip(path, last_bytes(path) - 250000 + 300)
    start(c, OTHER)
    code, said = failover(c)
    # Where the log ends is known: nothing is given up by going on there.
    assert code == 0 and is_at(c, OTHER, volumes), said
    assert count_logged(c, f"{OTHER}/node", "damage_passed_over") >= len(volumes)
    assert not is_read(book, c, users), "what is damaged was read"
    start(c, NODE)
    c.wait_serving(seconds=60)
    wait_for("what was damaged to be readable", 60, lambda: is_read(book, c, users))
    assert count_logged(c, f"{OTHER}/node", "mended") >= len(volumes)
    c.heal()


def zero_block(path, at):
    with open(path, "r+b") as file:
        file.seek(at // 4096 * 4096)
        file.write(bytes(4096))


def damage_all(c, node):
    """A bit and a block of the newest large messages of each volume, under the running daemons."""
    for number in volume_ids(c):
        path = last_segment(c, node, number)
        end = last_bytes(path)
        assert end > 450000, path
        flip(path, end - 150000 + 300)
        zero_block(path, end - 350000)


def are_equal(c):
    """The last segments, where no room is given back, zero beyond their end."""
    for number in volume_ids(c):
        paths = [last_segment(c, node, number) for node in (NODE, OTHER)]
        if os.path.basename(paths[0]) != os.path.basename(paths[1]):
            return False
        if len({open(path, "rb").read().rstrip(b"\0") for path in paths}) > 1:
            return False
    return True


def test_damage_under_running_daemons_is_mended_before_a_reader_sees_it(c):
    c.heal()
    book, users = Book(), mine(c)
    volumes, _ = names_of(c)
    for name in users:
        for _ in range(6):
            c.send("site-b", name, size=100000)
    fill_last_segments(c, users)
    book.look(c, users)
    wait_for("the copies to be equal", 20, lambda: are_equal(c))
    damage_all(c, NODE)
    assert not are_equal(c)
    book.look(c, users)
    assert count_logged(c, f"{NODE}/node", "mended") >= len(volumes)
    assert count_logged(c, f"{NODE}/node", "message_corrupt") == 0
    wait_for("the copies to be equal again", 20, lambda: are_equal(c))
    # The replica's is met by its readers when it serves, and mended by the copy that served before.
    before = count_logged(c, f"{OTHER}/node", "mended")
    damage_all(c, OTHER)
    code, said = failover(c)
    assert code == 0 and is_at(c, OTHER, volumes), said
    wait_for("all of it to be readable", 30, lambda: is_read(book, c, users))
    assert count_logged(c, f"{OTHER}/node", "mended") >= before + len(volumes)
    wait_for("the copies to be equal again", 20, lambda: are_equal(c))
    c.heal()


def test_a_copy_that_lacks_its_end_is_told_from_one_that_is_silent(c):
    c.heal()
    book, users = Book(), mine(c)
    volumes, _ = names_of(c)
    for name in users:
        c.send("site-b", name)
    fill_last_segments(c, users)
    book.look(c, users)
    stop(c, NODE)
    stop(c, OTHER, signal.SIGTERM)
    for number in volume_ids(c):
        path = last_segment(c, OTHER, number)
        flip(path, last_bytes(path) + 20)
    start(c, OTHER)
    before = count_logged(c, f"{OTHER}/replicator", "replica_repaired")
    code, said = failover(c)
    assert code == 1 and said.count(f"{OTHER} answers and cannot use its copy") == len(volumes), said
    # Where it sends its reader, and what is done there.
    assert logged(c.daemon(f"{OTHER}/node"), "volume_unusable", 0)
    start(c, NODE)
    wait_for("the copies to be filled again", 60, lambda: count_logged(
        c, f"{OTHER}/replicator", "replica_repaired") >= before + len(volumes))
    c.wait_serving(seconds=60)
    book.look(c, users)
    c.heal()
