"""What a failover looks at before it fences, what it says is lost, and commands that stop half way."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time

import demo
from demo import POSTGRES_BIN
from test_5_failover import same_mail, snapshot
from test_6_disks import data_of, replace_disk
from test_6_restarts import FEED_LOCK, FEED_LOCKS, Command, DirectoryLock, freeze, logged, processes, psql, start, thaw
from world import unmount, user, wait_for

NODE, OTHER = "node-a1", "node-b1"


def names_of(c, node=NODE):
    """Volumes that prefer the node, and a few mailboxes on them."""
    volumes = [v["volume"] for v in c.pando_json("volume", "list") if v["preferred_node"] == node]
    rows = [m for m in c.pando_json("mailbox", "list") if m["volume"] in volumes and m["address"].startswith("u00")]
    return volumes, [m["address"] for m in rows][:3]


def is_up(c, node):
    return any(d["name"] == node and d["daemon"] == "node" and d["state"] == "up" for d in c.status()["daemons"])


def is_at(c, node, volumes):
    return all(v["primary"] == node and v["state"] == "primary" for v in c.status()["volumes"] if v["volume"] in volumes)


# ---- a command that stops half way ----

@contextlib.contextmanager
def command_at_the_fence(c):
    """It waits for a replica that does not move."""
    hung, primary = processes(c, OTHER, "replicator"), processes(c, NODE, "node")[0]
    since = os.path.getsize(primary.log)
    freeze(hung)
    try:
        command = Command(c, "failover", NODE, "--to", "site-b")
        wait_for("the fence", 5, lambda: logged(primary, "to=fenced", since))
        yield command
    finally:
        thaw(hung)


@contextlib.contextmanager
def stopped_after_the_fence(c):
    """Fenced, and waited for a replica that does not move."""
    with command_at_the_fence(c) as command:
        command.kill()
    yield


@contextlib.contextmanager
def stopped_behind_the_hold(c):
    """The replica is held, and lacks what the fence has ended: its leader could not be heard."""
    away, target = processes(c, NODE, "replicator"), processes(c, OTHER, "node")[0]
    since = os.path.getsize(target.log)
    for daemon in away:
        daemon.stop(signal.SIGKILL)
    try:
        command = Command(c, "failover", NODE, "--to", "site-b")
        wait_for("the hold", 10, lambda: logged(target, "to=held", since))
        command.kill()
    finally:
        for daemon in away:
            daemon.start()
    yield


@contextlib.contextmanager
def stopped_before_the_row(c):
    """Fenced, held, confirmed; nothing is written."""
    lock = DirectoryLock(c)
    try:
        command = Command(c, "failover", NODE, "--to", "site-b")
        lock.wait_wanted()
        command.kill()
    finally:
        lock.release()
    yield


@contextlib.contextmanager
def stopped_behind_the_row(c):
    """The directory is changed; who is named has not heard it yet."""
    lock, target = DirectoryLock(c), processes(c, OTHER, "node")
    try:
        command = Command(c, "failover", NODE, "--to", "site-b")
        lock.wait_wanted()
        freeze(target)
        lock.release()
        try:
            wait_for("the row", 5, lambda: all(
                v["primary_node"] == OTHER for v in c.pando_json("volume", "list") if v["preferred_node"] == NODE))
        except demo.Failure as failure:
            raise demo.Failure(f"{failure}; the command said:\n{command.kill()}") from failure
        command.kill()
        yield
    finally:
        lock.release()
        thaw(target)


def test_an_interrupted_command_gives_back_what_stands_still(c):
    """Long before the fences would end by themselves."""
    c.heal()
    volumes, _ = names_of(c)
    with command_at_the_fence(c) as command:
        command.process.send_signal(signal.SIGTERM)
        said = command.process.communicate(timeout=15)[0]
        assert command.process.returncode == -signal.SIGTERM, (command.process.returncode, said)
        assert "was interrupted, and stays where it is" in said, said
        wait_for("the volumes", 5, lambda: is_at(c, NODE, volumes))


POINTS = (stopped_after_the_fence, stopped_behind_the_hold, stopped_before_the_row, stopped_behind_the_row)


def test_a_command_that_was_killed_at_any_step_is_completed_by_the_same_one(c):
    c.heal()
    volumes, users = names_of(c)
    for point in POINTS:
        for name in users:
            c.send("site-b", name)
        before = snapshot(c, "site-b", users)
        with point(c):
            pass
        start = time.monotonic()
        done = subprocess.run([demo.PANDO, "--config", c.conf, "failover", NODE, "--to", "site-b"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        # When the row was written by the first one, nothing is left to be moved.
        assert done.returncode == 0 or "serves no volume" in done.stdout, (point.__name__, done.stdout)
        wait_for("the volumes at the other site", 5, lambda: is_at(c, OTHER, volumes))
        assert time.monotonic() - start < 8, point.__name__
        same_mail(before, snapshot(c, "site-a", users))
        c.pando("failback", "site-a")
        c.wait_serving()


def test_a_command_that_was_killed_at_any_step_is_undone_by_the_way_back(c):
    c.heal()
    volumes, users = names_of(c)
    for point in POINTS:
        before = snapshot(c, "site-b", users)
        with point(c):
            pass
        # What was not moved yet is moved there first: the way back then begins from a known place.
        subprocess.run([demo.PANDO, "--config", c.conf, "failover", NODE, "--to", "site-b"],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("the way back", 10, lambda: subprocess.run(
            [demo.PANDO, "--config", c.conf, "failback", "site-a"], stdout=subprocess.DEVNULL).returncode == 0)
        wait_for("the volumes at home", 5, lambda: is_at(c, NODE, volumes))
        same_mail(before, snapshot(c, "site-b", users))


def test_what_a_killed_command_left_goes_on_by_itself(c):
    """Nobody runs anything: the fence and the hold end, and the old primary serves again."""
    c.heal()
    volumes, users = names_of(c)
    before = snapshot(c, "site-b", users)
    with stopped_before_the_row(c):
        wait_for("the old primary", 60, lambda: is_at(c, NODE, volumes))
    same_mail(before, snapshot(c, "site-b", users))
    c.wait_serving()


# ---- two commands at once ----

def test_a_second_command_is_told_who_moves_the_volumes_and_disturbs_nothing(c):
    c.heal()
    volumes, users = names_of(c)
    before, primary = snapshot(c, "site-b", users), processes(c, NODE, "node")[0]
    lock, since = DirectoryLock(c), os.path.getsize(primary.log)
    try:
        first = Command(c, "failover", NODE, "--to", "site-b")
        lock.wait_wanted()
        second = subprocess.run([demo.PANDO, "--config", c.conf, "failover", volumes[0], "--to", "site-b"],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert second.returncode == 1, second.stdout
        assert f"volume {volumes[0]} is being moved by another command" in second.stdout, second.stdout
        assert f"pid {first.process.pid}: pando failover {NODE}" in second.stdout, second.stdout
        # A dry run moves nothing, and waits for nobody.
        c.pando_json("failover", NODE, "--to", "site-b", "--dry-run", check=False)
    finally:
        lock.release()
    told = first.process.communicate(timeout=30)[0]
    assert first.process.returncode == 0, told
    wait_for("the volumes at the other site", 5, lambda: is_at(c, OTHER, volumes))
    with open(primary.log, errors="replace") as log:
        log.seek(since)
        assert len([line for line in log if "to=fenced" in line]) == len(volumes)
    same_mail(before, snapshot(c, "site-a", users))
    # Nor is it in anybody's way when it has died.
    lock = DirectoryLock(c)
    try:
        first = Command(c, "failback", "site-a")
        lock.wait_wanted()
        first.kill()
    finally:
        lock.release()
    c.pando("failback", "site-a")
    c.wait_serving()
    same_mail(before, snapshot(c, "site-b", users))


# ---- one volume of many ----

def test_a_row_that_was_changed_meanwhile_holds_up_no_other(c):
    c.heal()
    volumes, users = names_of(c)
    bad, before = volumes[0], snapshot(c, "site-b", names_of(c)[1])
    # Somebody who is quicker: he has the lock, and changes one row before he lets go.
    holder = subprocess.Popen(
        ["/usr/sbin/runuser", "-u", "postgres", "--"] * (os.getuid() == 0) +
        [f"{POSTGRES_BIN}/psql", "-q", "-h", c.postgres_folder, "-p", str(c.postgres_port()), "-U", "pando", "-d", "pando",
         "-c", f"begin; set search_path = pando; select pg_advisory_xact_lock({FEED_LOCK}); select pg_sleep(2); "
               f"update volume set epoch = epoch + 8, reign = md5(name), token = 0, clean_after = 0 where name = '{bad}'; commit"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", text=True)
    wait_for("the lock", 5, lambda: psql(c, FEED_LOCKS + "and l.granted and a.query like '%pg_sleep(2)%'") == "1")
    result = c.pando_json("failover", NODE, "--to", "site-b", check=False)
    assert holder.wait(10) == 0, holder.stderr.read()
    rows = {v["volume"]: v["result"] for v in result["volumes"]}
    assert "changed by somebody else" in rows.pop(bad), result
    assert rows and all(text == "served" for text in rows.values()), result
    wait_for("the one that stayed", 60, lambda: is_at(c, NODE, [bad]))
    same_mail(before, snapshot(c, "site-b", users))
    c.pando("failback", "site-a")
    c.wait_serving()


# ---- before anything is fenced ----

@contextlib.contextmanager
def small_index_disk(c, node, mib):
    folder, kept = data_of(c, node, "index"), os.path.join(c.folder, "kept-index")
    daemon = processes(c, node, "node")[0]
    daemon.stop()
    shutil.copytree(folder, kept)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", folder], check=True)
    try:
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        stat = os.stat(kept)
        for path in [folder] + [os.path.join(folder, name) for name in os.listdir(folder)]:
            os.chown(path, stat.st_uid, stat.st_gid)
        daemon.start()
        wait_for("the node", 10, lambda: is_up(c, node))
        yield
    finally:
        daemon.stop()
        unmount(folder)
        daemon.start()
        shutil.rmtree(kept)


def test_a_target_without_room_is_refused_before_anything_is_fenced(c):
    c.heal()
    volumes, users = names_of(c)
    primary = processes(c, NODE, "node")[0]
    with small_index_disk(c, OTHER, 80):
        c.wait_nodes()
        since = os.path.getsize(primary.log)
        for more in (["--dry-run"], []):
            result = c.pando_json("failover", NODE, "--to", "site-b", *more, check=False)
            assert all("is not fit to serve it (disk)" in v["result"] for v in result["volumes"]), result
            assert {row["volume"] for row in result["preflight"]} == set(volumes), result
            # No epoch begins where nothing moves.
            assert all(v[column] is None for v in result["volumes"]
                       for column in ("epoch", "clean", "start_lsn", "served_after_ms")), result
            assert all(row["node"] == OTHER and row["item"] == "disk" and "MiB are needed" in row["problem"]
                       and "--to" in row["help"] for row in result["preflight"]), result
        code = subprocess.run([demo.PANDO, "--config", c.conf, "failover", NODE, "--to", "site-b"],
                              stdout=subprocess.PIPE, text=True)
        assert code.returncode == 1 and "not ready:" in code.stdout, code.stdout
        assert all(re.search(rf"^{name} .*see what fails above +- +- +- +- ", code.stdout, re.M) for name in volumes), code.stdout
        assert is_at(c, NODE, volumes) and not logged(primary, "to=fenced", since)
        c.send("site-b", users[0])
    c.wait_nodes()
    assert not c.pando_json("failover", NODE, "--to", "site-b", "--dry-run")["preflight"]
    c.wait_serving()


# ---- what would be lost ----

def change_everything(c, name):
    """A message, flags, a copy, an expunge, a folder, a subscription, at a home whose copy is away."""
    c.send("site-a", name)
    imap = c.imap("site-a", name)
    imap.select("INBOX")
    imap.uid("STORE", "1:2", "+FLAGS", "(\\Flagged)")
    imap.uid("COPY", "1", "INBOX")
    imap.uid("STORE", "2", "+FLAGS", "(\\Deleted)")
    imap.expunge()
    imap.create("Kept")
    imap.subscribe("Kept")
    imap.logout()


def test_what_may_be_lost_is_counted_by_mailbox_and_kind(c):
    c.heal()
    volumes, users = names_of(c)
    name = users[0]
    for _ in range(3):
        c.send("site-b", name)
    wait_for("nothing at risk", 5, lambda: c.pando_json("at-risk") == [])
    away = processes(c, OTHER, "replicator")
    for daemon in away:
        daemon.stop(signal.SIGKILL)
    try:
        change_everything(c, name)
        rows = [row for row in c.pando_json("at-risk", check=False) if row["mailbox"] == name]
        counts = {}
        for row in rows:
            counts[row["what"]] = counts.get(row["what"], 0) + row["count"]
        assert counts == {"message": 1, "flags": 3, "copy": 1, "expunge": 1, "folder": 1, "subscription": 1}, rows
        assert {row["where"] for row in rows} == {NODE} and {row["volume"] for row in rows} <= set(volumes), rows
        # The same is said before a failover that leaves it, and by it.
        plan = c.pando_json("failover", NODE, "--to", "site-b", "--accept-loss", "--dry-run", check=False)
        lost = [row for row in plan["losses"] if row["mailbox"] == name]
        assert len(lost) == 1, plan
        assert [lost[0][kind] for kind in ("messages", "copies", "flags", "expunges", "folders", "subscriptions")] == [
            1, 1, 3, 1, 1, 1], lost
        said = [v["may_be_lost"] for v in plan["volumes"] if v["volume"] == lost[0]["volume"]][0]
        assert "1 message, 1 copy, 3 flags, 1 expunge, 1 folder, 1 subscription of 1 mailbox" in said, said
        result = c.pando_json("failover", NODE, "--to", "site-b", "--accept-loss")
        assert [row for row in result["losses"] if row["mailbox"] == name] == lost, result
    finally:
        for daemon in away:
            daemon.start()
    c.wait_serving(seconds=60)
    c.pando("failback", "site-a")
    c.wait_serving()


def test_a_mailbox_at_risk_has_the_name_that_its_volume_knows(c):
    c.heal()
    name = names_of(c)[1][1]
    away = processes(c, OTHER, "replicator")
    for daemon in away:
        daemon.stop(signal.SIGKILL)
    try:
        c.send("site-a", name)
        # As a directory would say that was restored from another time.
        psql(c, f"update mailbox set address = 'other@{demo.DOMAIN}' where address = '{name}'")
        wait_for("both names", 5, lambda: f"{name} (in the directory: other@{demo.DOMAIN})" in {
            row["mailbox"] for row in c.pando_json("at-risk", check=False)})
    finally:
        psql(c, f"update mailbox set address = '{name}' where address = 'other@{demo.DOMAIN}'")
        for daemon in away:
            daemon.start()
    c.wait_serving(seconds=60)


def test_the_last_lag_is_said_of_a_leader_that_was_heard_only(c):
    c.heal()
    volumes, users = names_of(c)
    c.send("site-b", users[0])
    # The copy's daemons start while nobody leads: they have heard nothing.
    for daemon in processes(c, OTHER) + processes(c, NODE):
        daemon.stop(signal.SIGKILL)
    for daemon in processes(c, OTHER):
        daemon.start()
    try:
        wait_for("the copy's node", 10, lambda: is_up(c, OTHER))
        plan = c.pando_json("failover", NODE, "--to", "site-b", "--dry-run", check=False)
        assert all("last known lag" not in v["may_be_lost"] for v in plan["volumes"]), plan
    finally:
        for daemon in processes(c, NODE):
            daemon.start()
    c.wait_serving(seconds=60)
    for daemon in processes(c, NODE):
        daemon.stop(signal.SIGKILL)
    plan = c.pando_json("failover", NODE, "--to", "site-b", "--dry-run")
    assert all("last known lag 0 bytes, " in v["may_be_lost"] for v in plan["volumes"]), plan
    for daemon in processes(c, NODE):
        daemon.start()
    c.wait_serving(seconds=60)


def leave_half_filled(c, volume, name):
    """The copy's disk is new, and its primary dies when it has the first of it, or soon after."""
    follower, leader = processes(c, OTHER, "replicator")[0], processes(c, NODE)
    replace_disk(c, OTHER)
    since = os.path.getsize(follower.log)
    start(c, OTHER)
    demo.wait_for("the filling", 60, lambda: logged(follower, f"follows volume={volume} ", since))
    demo.wait_for("the first of it", 30, lambda: any(
        row["volume"] == name and (row["percent"] or 0) > 0 for row in c.pando_json("lag", "--volume", name, check=False)))
    for daemon in leader:
        daemon.send(signal.SIGKILL)
    for daemon in leader:
        daemon.stop(signal.SIGKILL)


def test_a_copy_that_is_being_filled_is_no_choice_and_a_dry_run_knows(c):
    c.heal()
    _, users = names_of(c)
    name = [m for m in c.pando_json("mailbox", "list") if m["address"] == users[0]][0]["volume"]
    volume = int(psql(c, f"select id from volume where name = '{name}'"))
    for _ in range(20):
        c.send("site-a", users[0], size=4 << 20)
    c.heal()
    for attempt in range(10):
        leave_half_filled(c, volume, name)
        wait_for("the copy's node", 10, lambda: is_up(c, OTHER))
        said = c.pando_json("failover", name, "--to", "site-b", "--dry-run", check=False)["volumes"][0]["result"]
        if "being filled" in said:
            break
        # It was quicker than its primary's death.
        start(c, NODE)
        c.heal()
    assert said.startswith(f"{OTHER} is still being filled"), said
    copy = processes(c, OTHER, "node")[0]
    since = os.path.getsize(copy.log)
    real = c.pando_json("failover", name, "--to", "site-b", check=False)["volumes"][0]
    assert real["result"] == said and real["epoch"] is None, (real, said)
    # It stood still for this, and does no longer: nothing is on one site for a command that changed nothing.
    assert logged(copy, f"volume_state volume={volume} from=replica to=held", since)
    demo.wait_for("the hold to be taken back", 5, lambda: logged(copy, f"volume_state volume={volume} from=held to=replica", since))
    start(c, NODE)
    c.wait_serving(seconds=60)
    c.heal()
    wait_for("the copy to be whole", 30, lambda: "filled" not in str(c.status()["volumes"]))
    # Later tests read this mailbox whole, many times.
    imap = c.imap("site-a", users[0])
    imap.select("INBOX")
    large = imap.search(None, "LARGER", str(4 << 20))[1][0].split()
    assert len(large) >= 20, large
    imap.store(b",".join(large).decode(), "+FLAGS.SILENT", "(\\Deleted)")
    assert imap.expunge()[0] == "OK"
    imap.logout()


def test_a_target_whose_index_does_not_open_is_no_choice(c):
    c.heal()
    volumes, _ = names_of(c)
    folder, kept = data_of(c, OTHER, "index"), os.path.join(c.folder, "kept-index")
    target, primary = processes(c, OTHER, "node")[0], processes(c, NODE, "node")[0]
    since = os.path.getsize(primary.log)
    target.stop()
    shutil.move(folder, kept)
    with open(folder, "wb"):
        pass
    try:
        target.start()
        wait_for("the node", 10, lambda: is_up(c, OTHER))
        wait_for("all volumes to be refused", 10, lambda: {row["item"] for row in c.pando_json(
            "failover", NODE, "--to", "site-b", "--dry-run", check=False)["preflight"]} == {"index"})
        result = c.pando_json("failover", NODE, "--to", "site-b", check=False)
        assert all("is not fit to serve it (index)" in v["result"] for v in result["volumes"]), result
        assert all(row["node"] == OTHER and "pando-node" in row["help"] for row in result["preflight"]), result
        assert is_at(c, NODE, volumes) and not logged(primary, "to=fenced", since)
        # Before anybody needs it, too.
        checked = {row["what"]: row["detail"] for row in c.pando_json("check", check=False)}
        assert all(f"the index of its replica at {OTHER} cannot be opened" in checked[f"volume {v}"] for v in volumes), checked
    finally:
        target.stop()
        os.unlink(folder)
        shutil.move(kept, folder)
        target.start()
    c.wait_nodes()
    c.wait_serving(seconds=60)
