"""The chapter Upgrade of docs/operating.md: machine by machine under load, and a directory that is newer than its daemons."""

import signal

from runbook import Runbook
from test_6_restarts import Book, load, mine, psql, served
from world import DOMAIN, wait_for

SLOW = True


def machines(c):
    """The daemons of each, as one `systemctl restart` takes them."""
    by_machine = {}
    for daemon in c.daemons():
        by_machine.setdefault(daemon.machine, []).append(daemon)
    return by_machine.values()


def are_up(c):
    return all(d["state"] == "up" for d in c.status()["daemons"])


def test_every_machine_is_restarted_in_turn_and_nothing_is_lost(c):
    book, upgrade = Book(), Runbook(c, "Upgrade")
    upgrade.command("pando check", code=None)
    upgrade.command("pando init")
    upgrade.says("systemctl restart pando-replicator pando-node pando-router")
    with load(c, mine(c), book):
        for daemons in machines(c):
            for daemon in daemons:
                daemon.stop(signal.SIGTERM)
            for daemon in daemons:
                daemon.start()
            wait_for("the machine", 20, lambda: are_up(c))
            served(c)
    c.heal()
    upgrade.says("pando failover node-a1", "pando failback site-a")


def test_a_directory_of_a_later_version_is_read(c):
    """As `pando init` of a later version leaves it: a migration, a table and a column that nobody here knows."""
    c.heal()
    name = f"{c.unique('later')}@{DOMAIN}"
    psql(c, "insert into migration (number, name) values (999, '999_later'); create table later (id bigint primary key); "
            "alter table mailbox add column later text; alter table volume add column later text")
    try:
        c.pando("init")
        c.pando("mailbox", "add", name, "--no-password")
        wait_for("the new mailbox", 10, lambda: c.send("site-b", name))
        for daemons in machines(c):
            for daemon in daemons:
                daemon.stop(signal.SIGTERM)
                daemon.start()
        c.wait_serving(seconds=60)
        c.send("site-a", name)
        c.pando("failover", "node-a1")
        c.pando("failback", "site-a")
        c.pando("mailbox", "remove", name)
    finally:
        psql(c, "delete from migration where number = 999; drop table later; alter table mailbox drop column later; "
                "alter table volume drop column later")
    c.heal()
