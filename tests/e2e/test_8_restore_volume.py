"""A volume, and a whole cluster, out of a backup: no UID comes twice, and what is left of the copies is not lost."""

import glob
import json
import os
import random
import shutil
import signal
import subprocess
import time

import demo
import world
from runbook import Runbook
from test_6_disks import NODE, data_of, forget_boot, start, stop
from test_8_who import sql
from world import DOMAIN, PASSWORD, make_message, wait_for

SLOW = True
OTHER = "node-b1"
# What lies between the last UID of a backup and the first one behind it, at least.
PASSED_OVER = 255 * 65536
# The first groups of a log, and far below where the logs here end when their backup is taken.
DAMAGED = 16 << 10


class Backup:
    """A folder of sets, and the key that its cluster has never seen."""

    def __init__(self, c, folder):
        self.c, self.folder, self.key = c, os.path.join(folder, "sets"), os.path.join(folder, "owner.key")
        os.makedirs(self.folder)
        demo.run(demo.PANDO, "backup", "key", "--out", self.key)
        with open(self.key, encoding="utf-8") as file:
            self.public = [line.strip() for line in file if line.startswith("pando-backup-public:")][0]

    def take(self, *options):
        return self.c.pando_json("backup", "--to", self.folder, "--key", self.public, *options)

    def begin(self, conf, *options):
        return subprocess.Popen([demo.PANDO, "--config", conf, "restore", "--from", self.folder, "--key", self.key, *options],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=hear_signals)

    def restore(self, conf, *options):
        process = self.begin(conf, *options)
        said = process.communicate(timeout=120)[0]
        return process.returncode, said


def hear_signals():
    """As at a terminal, whoever started the tests."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Machine:
    """Where a chapter's commands are given."""

    def __init__(self, conf):
        self.conf = conf


def as_written(conf, backup, line, volume=None):
    """A command of the chapter Restore, with the names of this cluster in the place of its own."""
    return Runbook(Machine(conf), "Restore").command(line, _backup=backup.folder, backup_key=backup.key, v1=volume)


def operator_of(c, machine):
    """The configuration of a machine, with the operator's certificate."""
    path = os.path.join(machine, "operator.conf")
    with open(os.path.join(machine, "pando.conf"), encoding="utf-8") as file:
        lines = file.readlines()
    with open(path, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.writelines(lines)
        file.write(f"ctl_certificate = {c.folder}/ctl.pem\nctl_key = {c.folder}/ctl.key\n")
    return path


def add_volume(c, volume, name):
    c.pando("volume", "add", volume, "--node", NODE, "--replica", OTHER)
    c.pando("mailbox", "add", name, "--volume", volume, "--password", PASSWORD)
    wait_for("the volume", 20, lambda: c.home(name)["home"] == NODE and c.send("site-b", name))
    wait_for("nothing at risk", 20, lambda: c.pando_json("at-risk") == [])
    return [v["id"] for v in c.pando_json("volume", "list") if v["volume"] == volume][0]


def numbers(c, name, site="site-a"):
    imap = c.imap(site, name)
    _, data = imap.status("INBOX", "(UIDVALIDITY UIDNEXT HIGHESTMODSEQ)")
    imap.logout()
    words = data[0].decode().split("(")[1].rstrip(")").split()
    return {words[i]: int(words[i + 1]) for i in range(0, len(words), 2)}


def flags(c, name, site="site-a"):
    imap = c.imap(site, name)
    imap.select("INBOX", readonly=True)
    _, data = imap.uid("FETCH", "1:*", "(FLAGS)")
    imap.logout()
    return sorted(line.split(b" ", 1)[1].replace(b" \\Recent", b"").replace(b"\\Recent", b"") for line in data if line)


def fill(c, name):
    for _ in range(10):
        c.send("site-b", name)
    imap = c.imap("site-a", name)
    imap.select("INBOX")
    imap.uid("STORE", "1:3", "+FLAGS", "(\\Seen $important)")
    imap.uid("STORE", "2", "+FLAGS", "(\\Deleted)")
    imap.expunge()
    imap.create("Archive")
    imap.append("Archive", "(\\Flagged)", None, make_message("archived"))
    imap.logout()


def lose(c, node, number):
    """All that the machine had of the volume."""
    shutil.rmtree(os.path.join(data_of(c, node, "volumes"), str(number)))
    for path in glob.glob(os.path.join(data_of(c, node, "index"), f"{number}.sqlite*")):
        os.unlink(path)


def serves(c, volume):
    return any(v["volume"] == volume and v["state"] == "primary" for v in c.status()["volumes"])


def in_step(c, volume, copies=1):
    """So many other copies count, and have all."""
    rows = [r for r in c.lag() if r["volume"] == volume]
    return len(rows) == copies and all(r["connected"] and r["lag_bytes"] == 0 and not r["seeding"] for r in rows)


def at_server(c, *statements):
    psql = (f"{demo.POSTGRES_BIN}/psql", "-q", "-h", c.postgres_folder, "-p", str(c.postgres_port()), "-U", "pando")
    c.as_postgres(*psql, "-d", "postgres", *[word for statement in statements for word in ("-c", statement)])


def new_database(c):
    at_server(c, "drop database pando with (force)", "create database pando")


def change_server(c, setting):
    at_server(c, f"alter system {setting}", "select pg_reload_conf()")


def stop_while_unpacked(c, process, node):
    wait_for("the unpacking", 20, lambda: glob.glob(os.path.join(data_of(c, node, "volumes"), "restoring-*", "0*.log")))
    process.send_signal(signal.SIGSTOP)


def end_volume(c, volume, name):
    c.pando("mailbox", "remove", name)
    c.pando("volume", "remove", volume, "--forget-removed")
    c.heal()


def test_a_volume_that_is_lost_everywhere_comes_back_and_no_uid_comes_twice(c):
    c.heal()
    volume, name = "r1", f"{c.unique('restored')}@{DOMAIN}"
    backup = Backup(c, os.path.join(c.folder, "restore-volume"))
    number = add_volume(c, volume, name)
    fill(c, name)
    saved = backup.take()
    before, flags_before, told = c.mailbox(name), flags(c, name), numbers(c, name)
    later = [c.send("site-b", name) for _ in range(5)]
    lost = c.mailbox(name)
    conf = operator_of(c, c.daemon(f"{NODE}/node").machine)
    # While it is served nothing is changed, nor while another copy could be, or the node here lives.
    code, said = backup.restore(conf, "--volume", volume)
    assert code == 1 and f"{NODE} serves volume {volume}" in said, said
    stop(c, NODE)
    code, said = backup.restore(conf, "--volume", volume)
    assert code == 1 and f"{OTHER} has a copy of volume {volume}" in said and f"pando failover {volume}" in said, said
    stop(c, OTHER)
    for node in (NODE, OTHER):
        lose(c, node, number)
        forget_boot(c, node)
    start(c, NODE)
    start(c, OTHER)
    wait_for("the nodes", 20, lambda: all(d["state"] == "up" for d in c.status()["daemons"]))
    assert not serves(c, volume)
    code, said = backup.restore(conf, "--volume", volume)
    assert code == 1 and "pando-node runs here" in said, said
    stop(c, NODE)
    said = as_written(conf, backup, "pando restore --from /backup --key backup.key --volume v1 --dry-run", volume)
    code, plan = backup.restore(conf, "--volume", volume, "--dry-run", "--json")
    assert code == 0 and json.loads(plan)[0]["sets_aside"] is True, plan
    assert f"would be restored at {NODE}" in said, said
    said = as_written(conf, backup, "pando restore --from /backup --key backup.key --volume v1", volume)
    assert f"volume {volume} is restored at {NODE}" in said, said
    assert saved["set"] in said, said
    start(c, NODE)
    wait_for("the restored volume", 60, lambda: serves(c, volume))
    c.wait_serving(seconds=60)
    now = c.mailbox(name)
    assert now[0] == before[0] and now[1][0] == before[1][0], (now, before)
    assert flags(c, name) == flags_before, (flags(c, name), flags_before)
    assert c.mailbox(name, folder="Archive")[0]
    after = numbers(c, name)
    assert after["UIDNEXT"] >= told["UIDNEXT"] + PASSED_OVER and after["HIGHESTMODSEQ"] > told["HIGHESTMODSEQ"], (after, told)
    # What a client was told after the backup names no other message, ever.
    c.send("site-b", name)
    new = set(c.mailbox(name)[0]) - set(now[0])
    assert len(new) == 1 and not new & set(lost[0]), (new, lost)
    assert not set(later) & set(c.subjects(name))
    # Two copies again, and the other one takes over.
    wait_for("nothing at risk", 20, lambda: c.pando_json("at-risk") == [])
    wait_for("the copy to count", 60, lambda: in_step(c, volume))
    before = c.mailbox(name)
    result = c.pando_json("failover", volume, "--to", "site-b")
    assert all(v["result"] == "served" for v in result["volumes"]), result
    assert c.mailbox(name, "site-b")[0] == before[0]
    c.pando("failback", "site-a")
    end_volume(c, volume, name)


def test_what_a_damaged_copy_has_more_than_the_backup_comes_home(c):
    c.heal()
    volume, name = "r2", f"{c.unique('damaged')}@{DOMAIN}"
    backup = Backup(c, os.path.join(c.folder, "restore-damaged"))
    number = add_volume(c, volume, name)
    fill(c, name)
    backup.take()
    before = set(c.subjects(name))
    later = [c.send("site-b", name) for _ in range(5)]
    wait_for("nothing at risk", 20, lambda: c.pando_json("at-risk") == [])
    stop(c, NODE)
    stop(c, OTHER)
    lose(c, OTHER, number)
    # The beginning of the log is gone: nothing that stands here can be served.
    path = os.path.join(data_of(c, NODE, "volumes"), str(number), f"{0:016x}.log")
    with open(path, "r+b") as file:
        file.write(bytes(DAMAGED))
    for index in glob.glob(os.path.join(data_of(c, NODE, "index"), f"{number}.sqlite*")):
        os.unlink(index)
    for node in (NODE, OTHER):
        forget_boot(c, node)
    conf = operator_of(c, c.daemon(f"{NODE}/node").machine)
    code, said = backup.restore(conf, "--volume", volume)
    assert code == 1 and f"{OTHER} could not be asked" in said, said
    code, said = backup.restore(conf, "--volume", volume, "--accept-loss")
    assert code == 0 and "the backup lacks comes home by itself" in said, said
    start(c, NODE)
    start(c, OTHER)
    wait_for("the restored volume", 60, lambda: serves(c, volume))
    wait_for("what came after the backup", 90, lambda: before | set(later) <= set(c.subjects(name)))
    found = c.subjects(name)
    assert all(found.count(subject) == 1 for subject in later), (later, found)
    wait_for("no open tail", 60, lambda: not [
        t for t in c.pando_json("salvage", "list", "--volume", volume) if t["state"] == "open"])
    end_volume(c, volume, name)


def test_what_is_too_damaged_to_say_what_it_has_stays_where_it_was_set_aside(c):
    c.heal()
    volume, name = "r5", f"{c.unique('nameless')}@{DOMAIN}"
    backup = Backup(c, os.path.join(c.folder, "restore-nameless"))
    number = add_volume(c, volume, name)
    backup.take()
    later = [c.send("site-b", name) for _ in range(3)]
    stop(c, NODE)
    stop(c, OTHER)
    lose(c, OTHER, number)
    log = os.path.join(data_of(c, NODE, "volumes"), str(number))
    with open(os.path.join(log, f"{0:016x}.log"), "r+b") as file:
        file.write(bytes(DAMAGED))
    os.unlink(os.path.join(log, "epochs"))
    code, said = backup.restore(operator_of(c, c.daemon(f"{NODE}/node").machine), "--volume", volume, "--accept-loss")
    assert code == 0, said
    aside = [word for word in said.split() if "removed-" in word][0].rstrip(":")
    start(c, NODE)
    start(c, OTHER)
    wait_for("the restored volume", 60, lambda: serves(c, volume) and in_step(c, volume))
    time.sleep(2)
    assert os.path.exists(os.path.join(aside, f"{0:016x}.log")), (aside, later)
    shutil.rmtree(aside)
    end_volume(c, volume, name)


def test_a_copy_that_can_be_served_is_not_restored_over(c):
    c.heal()
    volume, name, third = "r6", f"{c.unique('healthy')}@{DOMAIN}", "node-a2"
    backup = Backup(c, os.path.join(c.folder, "restore-healthy"))
    number = add_volume(c, volume, name)
    for _ in range(8):
        c.send("site-b", name, size=4 << 20)
    backup.take()
    c.send("site-b", name)
    before = c.mailbox(name)
    stop(c, NODE)
    stop(c, OTHER)
    lose(c, OTHER, number)
    start(c, OTHER)
    wait_for("the other node", 20, lambda: any(d["name"] == OTHER and d["daemon"] == "node" and d["state"] == "up"
                                               for d in c.status()["daemons"]))
    code, said = backup.restore(operator_of(c, c.daemon(f"{NODE}/node").machine), "--volume", volume)
    assert code == 1 and "goes on from the backup and has a sound end" in said, said
    # It comes back to life while it is being restored elsewhere.
    stop(c, third)
    process = backup.begin(operator_of(c, c.daemon(f"{third}/node").machine), "--volume", volume, "--accept-loss")
    stop_while_unpacked(c, process, third)
    start(c, NODE)
    wait_for("the volume", 60, lambda: serves(c, volume))
    process.send_signal(signal.SIGCONT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1 and ("meanwhile" in said or f"{NODE} serves volume" in said), said
    assert not glob.glob(os.path.join(data_of(c, third, "volumes"), "restoring-*"))
    start(c, third)
    c.wait_serving(seconds=60)
    assert c.mailbox(name)[0] == before[0] and c.home(name)["home"] == NODE
    end_volume(c, volume, name)


def test_a_restore_that_is_killed_at_any_moment_is_completed_by_the_next(c):
    c.heal()
    volume, name = "r3", f"{c.unique('killed')}@{DOMAIN}"
    backup = Backup(c, os.path.join(c.folder, "restore-killed"))
    number = add_volume(c, volume, name)
    for _ in range(8):
        c.send("site-b", name, size=4 << 20)
    backup.take()
    before = c.mailbox(name)
    stop(c, NODE)
    stop(c, OTHER)
    for node in (NODE, OTHER):
        lose(c, node, number)
        forget_boot(c, node)
    conf = operator_of(c, c.daemon(f"{NODE}/node").machine)
    took = time.monotonic()
    code, said = backup.restore(conf, "--volume", volume, "--accept-loss")
    took = time.monotonic() - took
    assert code == 0, said
    choice = random.Random(7)
    for _ in range(12):
        process = backup.begin(conf, "--volume", volume, "--accept-loss")
        time.sleep(choice.uniform(0, took))
        process.kill()
        process.communicate()
    code, said = backup.restore(conf, "--volume", volume, "--accept-loss")
    assert code == 0, said
    start(c, NODE)
    start(c, OTHER)
    wait_for("the restored volume", 60, lambda: serves(c, volume))
    c.wait_serving(seconds=60)
    assert c.mailbox(name)[0] == before[0]
    assert numbers(c, name)["UIDNEXT"] >= before[1][1] + PASSED_OVER
    assert not glob.glob(os.path.join(data_of(c, NODE, "volumes"), "restoring-*"))
    end_volume(c, volume, name)


def end_sessions(c, since):
    """What a server may do to all that say nothing, and does within a minute to who moves volumes."""
    sql(c, f"select pg_terminate_backend(pid, 5000) from pg_stat_activity where backend_start > '{since}' and state = 'idle' "
           "and pid <> pg_backend_pid();")


def test_unpacking_takes_its_time_and_leaves_nothing_behind_when_it_is_interrupted(c):
    c.heal()
    volume, name = "r7", f"{c.unique('patient')}@{DOMAIN}"
    backup = Backup(c, os.path.join(c.folder, "restore-patient"))
    number = add_volume(c, volume, name)
    for _ in range(8):
        c.send("site-b", name, size=4 << 20)
    backup.take()
    before = c.mailbox(name)
    stop(c, NODE)
    stop(c, OTHER)
    for node in (NODE, OTHER):
        lose(c, node, number)
        forget_boot(c, node)
    conf, volumes = operator_of(c, c.daemon(f"{NODE}/node").machine), data_of(c, NODE, "volumes")
    stood = sorted(os.listdir(volumes))
    for wanted in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process = backup.begin(conf, "--volume", volume, "--accept-loss")
        stop_while_unpacked(c, process, NODE)
        process.send_signal(wanted)
        process.send_signal(signal.SIGCONT)
        said = process.communicate(timeout=30)[0]
        assert process.returncode == -wanted and "was interrupted" in said, (process.returncode, said)
        assert sorted(os.listdir(volumes)) == stood, (stood, os.listdir(volumes))
    since = sql(c, "select clock_timestamp();")
    process = backup.begin(conf, "--volume", volume, "--accept-loss")
    stop_while_unpacked(c, process, NODE)
    end_sessions(c, since)
    process.send_signal(signal.SIGCONT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0 and f"volume {volume} is restored at {NODE}" in said, said
    start(c, NODE)
    start(c, OTHER)
    wait_for("the restored volume", 60, lambda: serves(c, volume))
    c.wait_serving(seconds=60)
    assert c.mailbox(name)[0] == before[0]
    end_volume(c, volume, name)


def waits_for_a_standby(c, volume):
    return sql(c, "select pid from pg_stat_activity where wait_event = 'SyncRep' and application_name like "
                  f"'%restore {volume}%';")


def test_a_restore_whose_commit_was_written_and_not_answered_goes_on(c):
    c.heal()
    volume, name, third = "r8", f"{c.unique('unanswered')}@{DOMAIN}", "node-a2"
    backup = Backup(c, os.path.join(c.folder, "restore-unanswered"))
    number = add_volume(c, volume, name)
    fill(c, name)
    backup.take()
    before = c.mailbox(name)
    for node in (NODE, OTHER, third):
        stop(c, node)
    for node in (NODE, OTHER):
        lose(c, node, number)
        forget_boot(c, node)
    conf = operator_of(c, c.daemon(f"{third}/node").machine)
    # A commit is written, and waits for a standby that there is none of.
    change_server(c, "set synchronous_standby_names = 'nobody'")
    try:
        process = backup.begin(conf, "--volume", volume, "--accept-loss")
        wait_for("the commit", 60, lambda: waits_for_a_standby(c, volume))
        sql(c, f"select pg_terminate_backend({waits_for_a_standby(c, volume)}, 5000);")
    finally:
        change_server(c, "reset synchronous_standby_names")
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0 and f"volume {volume} is restored at {third}" in said, said
    for node in (NODE, OTHER, third):
        start(c, node)
    wait_for("the restored volume", 60, lambda: c.home(name)["home"] == third and serves(c, volume))
    assert c.mailbox(name)[0] == before[0]
    end_volume(c, volume, name)


def test_a_node_that_gets_no_volume_has_no_copy_of_it(c):
    """What fails at the end leaves all as it was, the directory too."""
    c.heal()
    volume, name, third = "r9", f"{c.unique('refused')}@{DOMAIN}", "node-a2"
    backup = Backup(c, os.path.join(c.folder, "restore-refused"))
    number = add_volume(c, volume, name)
    fill(c, name)
    backup.take()
    before = c.mailbox(name)
    for node in (NODE, OTHER, third):
        stop(c, node)
    conf, volumes = operator_of(c, c.daemon(f"{third}/node").machine), data_of(c, third, "volumes")
    stood = sorted(os.listdir(volumes))
    sql(c, f"alter table volume add constraint no_change check (id <> {number} or epoch < 256) not valid;")
    try:
        code, said = backup.restore(conf, "--volume", volume, "--accept-loss")
    finally:
        sql(c, "alter table volume drop constraint no_change;")
    assert code == 1 and "no_change" in said, said
    assert sorted(os.listdir(volumes)) == stood, (stood, os.listdir(volumes))
    listed = [v for v in c.pando_json("volume", "list") if v["volume"] == volume]
    assert [v["copies"] for v in listed] == [2] and listed[0]["primary_node"] == NODE, listed
    for node in (NODE, OTHER, third):
        start(c, node)
    wait_for("the volume", 60, lambda: serves(c, volume))
    c.wait_serving(seconds=60)
    assert c.mailbox(name)[0] == before[0]
    end_volume(c, volume, name)


def test_a_volume_comes_back_at_a_node_that_never_had_it(c):
    c.heal()
    volume, name, third = "r4", f"{c.unique('elsewhere')}@{DOMAIN}", "node-a2"
    backup = Backup(c, os.path.join(c.folder, "restore-elsewhere"))
    number = add_volume(c, volume, name)
    fill(c, name)
    backup.take()
    before = c.mailbox(name)
    for node in (NODE, OTHER, third):
        stop(c, node)
    for node in (NODE, OTHER):
        lose(c, node, number)
        forget_boot(c, node)
    start(c, OTHER)
    wait_for("the other node", 20, lambda: any(d["name"] == OTHER and d["daemon"] == "node" and d["state"] == "up"
                                               for d in c.status()["daemons"]))
    code, said = backup.restore(operator_of(c, c.daemon(f"{third}/node").machine), "--volume", volume, "--accept-loss")
    assert code == 0 and f"volume {volume} is restored at {third}" in said, said
    start(c, third)
    start(c, NODE)
    wait_for("the restored volume", 60, lambda: c.home(name)["home"] == third and serves(c, volume))
    wait_for("three copies", 60, lambda: in_step(c, volume, 2))
    assert c.mailbox(name)[0] == before[0]
    c.send("site-b", name)
    c.pando("failover", volume, "--to", "site-b")
    assert before[0].items() <= c.mailbox(name, "site-b")[0].items()
    end_volume(c, volume, name)


def test_a_standalone_directory_comes_back_on_a_new_machine(c):
    """Whose configuration and keys are there, and nothing else."""
    c.heal()
    backup = Backup(c, os.path.join(c.folder, "restore-standalone"))
    backup.take()
    folder = os.path.join(c.folder, "new-machine")
    os.makedirs(folder)
    conf = os.path.join(folder, "pando.conf")
    with open(conf, "w", encoding="utf-8") as file:
        file.write(f"site = site-a\nnode = {NODE}\ndata_dir = {folder}/data\nrun_dir = {folder}/run\ndirectory = standalone\n"
                   f"cluster_ca = {c.folder}/authority.pem\nctl_certificate = {c.folder}/ctl.pem\nctl_key = {c.folder}/ctl.key\n")
    code, said = backup.restore(conf, "--directory", "--dry-run")
    assert code == 0 and not os.path.exists(os.path.join(folder, "data")), said
    # What another file has left would be taken for a part of this one.
    directory = os.path.join(folder, "data", "directory")
    os.makedirs(directory)
    for suffix in ("-wal", "-shm", "-journal"):
        left = os.path.join(directory, f"directory.sqlite{suffix}")
        with open(left, "w", encoding="utf-8"):
            pass
        code, said = backup.restore(conf, "--directory")
        assert code == 1 and f"{left} is there already" in said, said
        os.unlink(left)
    shutil.rmtree(os.path.join(folder, "data"))
    done = subprocess.run([demo.PANDO, "--config", conf, "mailbox", "list"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 1 and "pando restore --directory" in done.stdout, done.stdout
    code, said = backup.restore(conf, "--directory")
    assert code == 0, said
    listed = [subprocess.run([demo.PANDO, "--config", path, "mailbox", "list", "--json"], stdout=subprocess.PIPE, check=True).stdout
              for path in (conf, c.conf)]
    assert listed[0] == listed[1]
    assert os.listdir(os.path.join(folder, "data", "directory")) == ["directory.sqlite"]
    code, said = backup.restore(conf, "--directory")
    assert code == 1 and "is there already" in said, said


def test_a_whole_cluster_comes_back_from_nothing_but_its_backup(c):
    whole = world.World(os.path.join(c.folder, "whole"), world.free_offset())
    try:
        whole.create(["site-a", "site-b"], 1)
        whole.start()
        whole.wait_serving()
        users = [world.user(i) for i in range(1, 9)]
        for name in users:
            for _ in range(3):
                whole.send("site-b", name)
        wait_for("nothing at risk", 20, lambda: whole.pando_json("at-risk") == [])
        backup = Backup(whole, os.path.join(c.folder, "restore-whole"))
        backup.take()
        before = {name: whole.mailbox(name) for name in users}
        whole.pando("mailbox", "passwd", users[0], "--password", "of yesterday")
        for name in users[1:]:
            whole.send("site-b", name)
        lost = {name: whole.mailbox(name) for name in users[1:]}
        # The database alone is lost, under the daemons: what lives has more than the backup, and all of it stays.
        new_database(whole)
        code, said = backup.restore(whole.conf, "--directory")
        assert code == 0 and "the directory is restored" in said, said
        wait_for("what lives to be served", 60, whole.in_step)
        assert {name: whole.mailbox(name)[0] for name in users[1:]} == {name: lost[name][0] for name in users[1:]}
        for name in users[1:]:
            whole.send("site-b", name)
        lost = {name: whole.mailbox(name) for name in users[1:]}
        # Nothing is left but configuration and keys; the database is another one.
        whole.stop(signal.SIGKILL)
        for daemon in whole.daemons():
            for folder in ("data", "run"):
                shutil.rmtree(os.path.join(daemon.machine, folder), ignore_errors=True)
                os.makedirs(os.path.join(daemon.machine, folder))
        for path in glob.glob(os.path.join(whole.folder, "pando-places*")):
            os.unlink(path)
        new_database(whole)
        other = Backup(c, os.path.join(c.folder, "restore-other"))
        other.take()
        for options in ((), ("--dry-run", )):
            code, said = other.restore(whole.conf, "--directory", *options)
            assert code == 1 and "is of the cluster" in said and "--other-cluster" in said, said
        said = as_written(whole.conf, backup, "pando restore --from /backup --key backup.key --directory")
        assert "the directory is restored" in said, said
        code, said = backup.restore(whole.conf, "--directory")
        assert code == 1 and "is not empty" in said, said
        machine = whole.daemon("node-a1/node").machine
        code, said = other.restore(operator_of(whole, machine), "--volume", "a1-1", "--accept-loss")
        assert code == 1 and "is of the cluster" in said and "--other-cluster" in said, said
        for volume in whole.pando_json("volume", "list"):
            as_written(operator_of(whole, machine), backup,
                       "pando restore --from /backup --key backup.key --volume v1 --accept-loss", volume["volume"])
        whole.start()
        whole.wait_serving(seconds=90)
        for name in users:
            now = whole.mailbox(name)
            assert now[0] == before[name][0] and now[1][0] == before[name][1][0], (name, now, before[name])
        for name in users[1:]:
            whole.send("site-b", name)
            new = set(whole.mailbox(name)[0]) - set(before[name][0])
            assert len(new) == 1 and not new & set(lost[name][0]), (name, new)
        wait_for("nothing at risk", 30, lambda: whole.pando_json("at-risk") == [])
    finally:
        whole.end()
