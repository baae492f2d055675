"""A backup of a cluster that lives: what is in it, what is in the next one, and what counts when something dies meanwhile."""

import hashlib
import json
import os
import random
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import demo
from runbook import OPERATING, Runbook
from test_6_restarts import flip
from test_6_salvage import cut_off, users_of
from test_7_staged_logs import segments_of
from world import unmount, user, wait_for

SLOW = True
KILLS = 10
KILL_SEED = 20261127


def run(c, *arguments):
    return subprocess.run([demo.PANDO, "--config", c.conf, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=300)


KEYS = {}


def sealed_to(folder, *options):
    """With the key that the folder's first backup named."""
    if "--key" in options:
        KEYS.setdefault(folder, options[options.index("--key") + 1])
        return options
    return (*options, "--key", KEYS[folder])


def take(c, folder, *options, code=0):
    done = run(c, "backup", "--to", folder, "--json", *sealed_to(folder, *options))
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def refused(c, *arguments, code=1):
    """The sentence; nothing is printed beside it."""
    done = run(c, "backup", *arguments)
    assert done.returncode == code and not done.stdout, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert "pando: " in done.stderr, done.stderr
    return done.stderr


def new_folder(c, name):
    folder = os.path.join(c.folder, f"backup-{name}")
    os.makedirs(folder)
    return folder


def new_key(c, name):
    """The public half; the file is put where nobody finds it."""
    path = os.path.join(c.folder, f"{name}.key")
    done = run(c, "backup", "key", "--out", path)
    assert done.returncode == 0, done.stderr
    return re.search(r"pando-backup-public:[0-9a-f]{64}", open(path).read()).group(), path


def ends(c):
    return {v["volume"]: int(v["durable_lsn"]) for v in c.status()["volumes"]}


def by_volume(result):
    return {row["volume"]: row for row in result["volumes"]}


def covers(result, before):
    rows = by_volume(result)
    assert set(rows) == set(before), rows
    for name, row in rows.items():
        assert row["problem"] == "" and row["to"] >= before[name], (name, row, before[name])


def verified(c, folder, *options):
    done = run(c, "backup", "verify", "--from", folder, *options)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


def finished(folder):
    done = subprocess.run([demo.PANDO, "backup", "list", "--from", folder, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True)
    return {row["set"] for row in json.loads(done.stdout)}


def lose_site_a(c, write):
    """With what it alone has."""
    cut_off(c, write)
    c.pando_json("failover", "node-a2", "--to", "site-b", "--accept-loss", check=False)
    wait_for("the other site", 30, lambda: all(v["state"] == "primary" for v in c.status()["volumes"]))


class Mail:
    """Delivered all the while, as fast as one session can."""

    def __init__(self, c):
        self.c, self.stopped, self.sent = c, threading.Event(), 0
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stopped.is_set():
            self.c.send("site-a", user(1 + self.sent % 40), size=20000)
            self.sent += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()


def test_a_living_cluster_is_backed_up_and_then_what_came_since(c):
    c.heal()
    folder, (key, secret) = new_folder(c, "living"), new_key(c, "living")
    for number in range(1, 41):
        c.send("site-a", user(number), size=100000)
    with Mail(c) as mail:
        wait_for("mail", 10, lambda: mail.sent > 5)
        before, began = ends(c), mail.sent
        whole = take(c, folder, "--key", key)
        assert mail.sent > began
        covers(whole, before)
        before = ends(c)
        since = take(c, folder)
        covers(since, before)
    assert whole["parent"] == "" and since["parent"] == whole["set"], since
    for name, row in by_volume(since).items():
        assert by_volume(whole)[name]["from"] == 0 and row["from"] == by_volume(whole)[name]["to"], (name, row)
    assert since["bytes"] < whole["bytes"], (whole["bytes"], since["bytes"])
    # The secret half is needed by nobody but who reads it.
    verified(c, folder)
    verified(c, folder, "--key", secret)
    os.remove(secret)
    third = take(c, folder, "--full")
    assert third["parent"] == "" and all(row["from"] == 0 for row in third["volumes"]), third
    assert finished(folder) == {whole["set"], since["set"], third["set"]}
    people = run(c, "backup", "--to", folder, *sealed_to(folder))
    assert people.returncode == 0 and f"what came after {third['set']}" in people.stdout, people.stdout + people.stderr


def test_a_backup_that_is_killed_counts_for_nothing(c):
    c.heal()
    folder, (key, _) = new_folder(c, "killed"), new_key(c, "killed")
    last = take(c, folder, "--key", key)
    length = last["seconds"]
    chance = random.Random(KILL_SEED)
    for i in range(KILLS):
        c.send("site-a", user(1 + i), size=200000)
        counted, after, there = finished(folder), chance.uniform(0, length), len(os.listdir(folder))
        process = subprocess.Popen([demo.PANDO, "--config", c.conf, "backup", "--to", folder,
                                    *sealed_to(folder, *(["--full"] if i % 2 else []))], stdout=subprocess.DEVNULL)
        # Before it has a folder there is nothing to leave behind.
        while len(os.listdir(folder)) == there and process.poll() is None:
            time.sleep(0.001)
        time.sleep(after)
        process.kill()
        if process.wait() == 0 or finished(folder) != counted:
            last = {"set": max(finished(folder) - counted)}
            continue
        before = ends(c)
        result = take(c, folder)
        assert result["parent"] == last["set"], (KILL_SEED, i, after, result["parent"], last["set"])
        covers(result, before)
        last = result
    assert len(os.listdir(folder)) > len(finished(folder)), "no kill came in between"
    verified(c, folder)


def test_another_copy_is_read_where_the_primarys_replicator_is_dead(c):
    c.heal()
    folder, (key, secret) = new_folder(c, "replica"), new_key(c, "replica")
    before = ends(c)
    replicator, other = c.daemon("node-a1/replicator"), c.daemon("node-b1/replicator")
    replicator.stop(signal.SIGKILL)
    result = take(c, folder, "--key", key)
    covers(result, before)
    for name, row in by_volume(result).items():
        assert row["source"] == ("node-b1" if name.startswith("a1") else "node-a2"), row
    # Neither: they are named, and what was had before stays what it was.
    other.stop(signal.SIGKILL)
    c.send("site-a", users_of(c, 1)[0])
    done = run(c, "backup", "--to", folder, "--json", *sealed_to(folder))
    assert done.returncode == 1, done.stderr
    rows = by_volume(json.loads(done.stdout))
    for name, row in rows.items():
        was = by_volume(result)[name]
        assert row["from"] == was["to"] and bool(row["problem"]) == name.startswith("a1"), row
        if row["problem"]:
            assert row["to"] == row["from"] and f"volume {name}: " in done.stderr, (row, done.stderr)
    replicator.start()
    other.start()
    c.heal()
    before = ends(c)
    last = take(c, folder)
    covers(last, before)
    assert all(row["from"] == rows[name]["to"] for name, row in by_volume(last).items())
    verified(c, folder, "--key", secret)


def test_a_volume_whose_tail_was_cut_off_begins_anew(c):
    c.heal()
    folder, (key, secret) = new_folder(c, "cut"), new_key(c, "cut")
    name = users_of(c, 1)[0]
    volume = c.home(name)["volume"]
    taken = []

    def write():
        for _ in range(3):
            c.send("site-a", name, size=50000)
        # With what the other site lacks.
        taken.append(take(c, folder, "--key", key))

    lose_site_a(c, write)
    c.send("site-b", name)
    before = ends(c)
    after = take(c, folder)
    covers(after, before)
    row, was = by_volume(after)[volume], by_volume(taken[0])[volume]
    assert after["parent"] == taken[0]["set"] and row["from"] == 0 and was["to"] > 0, (row, was)
    # Another one at the same address too: it goes on beyond it.
    for _ in range(5):
        c.send("site-b", name, size=50000)
    assert by_volume(take(c, folder))[volume]["from"] == row["to"]
    c.start("site-a")
    c.heal()
    # What was cut off comes home while it is taken, or afterwards.
    before = ends(c)
    covers(take(c, folder), before)
    verified(c, folder, "--key", secret)


def test_a_log_that_has_grown_beyond_what_was_cut_off_is_known_as_another_one(c):
    c.heal()
    folder, (key, secret) = new_folder(c, "grown"), new_key(c, "grown")
    name = users_of(c, 1)[0]
    volume = c.home(name)["volume"]
    lose_site_a(c, lambda: (c.send("site-a", name), take(c, folder, "--key", key)))
    for _ in range(5):
        c.send("site-b", name, size=50000)
    row = by_volume(take(c, folder))[volume]
    assert row["from"] == 0 and row["problem"] == "", row
    c.start("site-a")
    c.heal()
    verified(c, folder, "--key", secret)


def test_volumes_that_move_meanwhile_are_read_where_they_come_to_stand(c):
    """Moved clean: nothing is cut off, and every set goes on where its parent ended."""
    c.heal()
    folder, (key, secret) = new_folder(c, "moving"), new_key(c, "moving")
    last = take(c, folder, "--key", key)
    moved = threading.Event()

    def move():
        try:
            for _ in range(8):
                c.pando("failover", "site-a", "--to", "site-b")
                c.pando("failback", "site-a")
        finally:
            moved.set()
    thread, count = threading.Thread(target=move), 0
    thread.start()
    with Mail(c):
        while not moved.is_set():
            result = take(c, folder)
            for name, row in by_volume(result).items():
                assert row["problem"] == "" and row["from"] == by_volume(last)[name]["to"] <= row["to"], (count, row)
            last, count = result, count + 1
    thread.join()
    c.heal()
    assert count > 2, count
    assert {v["primary"][:6] for v in c.status()["volumes"]} == {"node-a"}
    before = ends(c)
    covers(take(c, folder), before)
    verified(c, folder, "--key", secret)


def test_what_has_rotted_at_the_primary_comes_from_another_copy(c):
    c.heal()
    folder, (key, secret) = new_folder(c, "rotten"), new_key(c, "rotten")
    name = users_of(c, 1)[0]
    volume, number = c.home(name)["volume"], volume_id(c, c.home(name)["volume"])
    for _ in range(12):
        c.send("site-a", name, size=100000)
    wait_for("the replica", 10, c.in_step)
    path = segments_of(c, "node-a1", number)[-1]
    with open(path, "rb") as file:
        at = file.read().rfind(b"quick brown aspen")
    assert at > 600000, at
    flip(path, at)
    before = ends(c)
    result = take(c, folder, "--key", key)
    covers(result, before)
    assert by_volume(result)[volume]["source"] == "node-a1, node-b1", by_volume(result)[volume]
    verified(c, folder, "--key", secret)
    wait_for("the mending", 30, lambda: by_volume(take(c, folder, "--full"))[volume]["source"] == "node-a1")


def volume_id(c, name):
    return next(v["id"] for v in c.pando_json("volume", "list") if v["volume"] == name)


class Operator:
    """Who asks a replicator by the protocol itself, with a certificate of the cluster."""

    def __init__(self, c, line, node=1, role="ctl"):
        words = dict(re.findall(r"^(\w+) = (.*)$", open(c.conf if role == "ctl" else c.daemon("node-a1/node").config).read(), re.M))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(words["cluster_ca"])
        context.load_cert_chain(words[f"{role}_certificate"], words[f"{role}_key"])
        address = ("127.0.0.1", c.node_ports("site-a", node)["replicator"])
        self.line = context.wrap_socket(socket.create_connection(address, 10))
        self.line.sendall(line.encode() + b"\n")

    def answer(self):
        """All of it, until the end."""
        with self.line:
            return b"".join(iter(lambda: self.line.recv(1 << 16), b""))


def test_a_replicator_gives_an_operator_what_he_may_have_or_a_sentence(c):
    c.heal()
    name = users_of(c, 1)[0]
    volume = c.home(name)["volume"]
    number, end = volume_id(c, volume), ends(c)[volume]
    no_request, another = b"this is no `export", b"the log here is another one below that address"
    for line, words in (("export", no_request), (f"export {number} 0 0", no_request), (f"export {number} 0 0 -1", no_request),
                        (f"export {number} 8192 0 4096", no_request), (f"export {number} 0 xyz {end}", no_request),
                        (f"export {number} 0 00000000000000000 {end}", no_request),
                        ("export 4000000 0 0 0", b"this node holds no copy of the volume"),
                        (f"export {number} 0 0 {end + (1 << 30)}", b"the log is shorter than that here"),
                        (f"export {number} 0 1 {end}", another), (f"export {number} 8 0 {end}", another),
                        (f"export {number} {end} 123 {end}", another),
                        (f"export {number} 0 0 {end - 8}", b"the log has no readable end at that address here")):
        answer = Operator(c, line).answer()
        assert words in answer and answer.startswith(b"PFR1"), (line, answer[:200])
    whole = Operator(c, f"export {number} 0 0 {end}").answer()
    assert len(whole) > end // 2 and whole.count(b"PFR1") > 2, len(whole)
    # So many at a time, and no more; who has gone makes room.
    many = [Operator(c, f"export {number} 0 0 {end}") for _ in range(9)]
    assert sum(b"too many are reading here already" in one.answer() for one in many) >= 1
    wait_for("room", 10, lambda: b"too many" not in Operator(c, f"export {number} 0 0 {end}").answer())
    try:
        refused_line = Operator(c, f"export {number} 0 0 {end}", role="node").answer()
    except OSError:
        refused_line = b""
    assert refused_line == b"", refused_line[:100]


class Impostor:
    """Answers in a replicator's place with another certificate of the cluster, and keeps what it is asked."""

    def __init__(self, c, role):
        words = dict(re.findall(r"^(\w+) = (.*)$", open(c.daemon("node-a1/node").config).read(), re.M))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_verify_locations(words["cluster_ca"])
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.load_cert_chain(words[f"{role}_certificate"], words[f"{role}_key"])
        self.address = ("127.0.0.1", c.node_ports("site-a", 1)["replicator"])
        wait_for("the place", 20, self.stand)
        self.asked, self.connections = b"", 0
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def stand(self):
        """Once what the killed one had open is gone."""
        try:
            self.door = socket.create_server(self.address)
        except OSError:
            return False
        return True

    def serve(self):
        while True:
            try:
                plain, _ = self.door.accept()
            except OSError:
                return
            try:
                with self.context.wrap_socket(plain, server_side=True) as line:
                    self.connections += 1
                    self.asked += line.recv(1 << 16) if line.getpeercert()["subject"] else b""
            except OSError:
                pass

    def close(self):
        self.door.shutdown(socket.SHUT_RDWR)
        self.door.close()
        self.thread.join(10)


def test_who_stands_in_a_replicators_place_with_another_role_is_asked_nothing(c):
    c.heal()
    folder, (key, _) = new_folder(c, "impostor"), new_key(c, "impostor")
    replicator, others = c.daemon("node-a1/replicator"), [c.daemon(f"node-b{i}/replicator") for i in (1, 2)]
    for daemon in (replicator, *others):
        daemon.stop(signal.SIGKILL)
    impostor = Impostor(c, "node")
    try:
        done = run(c, "backup", "--to", folder, "--key", key, "--json")
    finally:
        impostor.close()
        for daemon in (replicator, *others):
            daemon.start()
    assert done.returncode == 1 and "no replicator of this cluster" in done.stderr, done.stderr
    assert impostor.connections > 0 and b"export" not in impostor.asked, impostor.asked
    c.heal()


def test_what_cannot_be_done_is_said_and_leaves_nothing_that_counts(c):
    c.heal()
    (key, _), (other, _) = new_key(c, "refusals"), new_key(c, "other")
    folder = new_folder(c, "refusals")
    assert "--to" in refused(c, code=2)
    without = refused(c, "--to", folder)
    assert all(word in without for word in ("backup_key", "--key", "`pando backup key`")), without
    assert "--key" in refused(c, "--to", folder, "--key", "pando-backup-public:12", code=2)
    assert "there is no folder" in refused(c, "--to", os.path.join(folder, "missing"), "--key", key)
    assert "cannot be opened" in refused(c, "--to", c.conf, "--key", key)
    assert os.listdir(folder) == []
    whole = take(c, folder, "--key", key)
    # To somebody else: he has none of what came before.
    assert take(c, folder, "--key", other)["parent"] == ""
    # And to the first one again.
    assert take(c, folder, "--key", key)["parent"] == whole["set"]
    # What has lost a file is no ground to stand on, and that is said.
    lost = os.path.join(folder, whole["set"], "directory.pbk")
    os.rename(lost, lost + ".away")
    done = run(c, "backup", "--to", folder, "--json", "--key", key)
    assert done.returncode == 0 and json.loads(done.stdout)["parent"] == "", done.stdout + done.stderr
    assert lost in done.stderr and "is a whole one" in done.stderr, done.stderr
    os.rename(lost + ".away", lost)
    # Never to whom the folder says, however many sets stand there.
    there = os.listdir(folder)
    assert refused(c, "--to", folder) == without and os.listdir(folder) == there
    holder = subprocess.Popen(["flock", folder, "sleep", "60"])
    try:
        wait_for("the lock", 5, lambda: "another `pando backup` is writing" in refused(c, "--to", folder, "--key", key))
        assert "is at work in" in refused(c, "prune", "--from", folder, "--keep", "1")
        assert run(c, "backup", "prune", "--from", folder, "--keep", "1", "--dry-run").returncode == 0
    finally:
        holder.kill()
        holder.wait()
    if os.getuid() == 0:
        no_room(c, key)


def no_room(c, key):
    disk = new_folder(c, "small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=True)
    try:
        said = refused(c, "--to", disk, "--key", key)
        assert "No space left on device" in said, said
        assert finished(disk) == set(), os.listdir(disk)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        said = refused(c, "--to", disk, "--key", key)
        assert "Read-only file system" in said, said
        subprocess.run(["mount", "-o", "remount,rw,size=1g", disk], check=True)
        before = ends(c)
        covers(take(c, disk, "--key", key), before)
    finally:
        unmount(disk)


class Machine:
    """That takes the backups, with a configuration of its own."""

    def __init__(self, c, name):
        self.conf = os.path.join(c.folder, f"{name}.conf")
        shutil.copy(c.conf, self.conf)

    def take(self, folder, *options):
        done = run(self, "backup", "--to", folder, "--json", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)


def recipient_of(folder, name):
    return json.load(open(os.path.join(folder, name, "manifest.json"), encoding="utf-8"))["recipient"]


def test_the_configuration_says_to_whom_and_no_set_of_the_folder_does(c):
    c.heal()
    machine, folder, (key, _), (other, _) = Machine(c, "sealed"), new_folder(c, "sealed"), new_key(c, "sealed"), new_key(c, "theirs")
    with open(machine.conf, "a", encoding="utf-8") as file:
        file.write(f"backup_key = {key}\n")
    first = machine.take(folder)["set"]
    assert recipient_of(folder, first) == key
    # Somebody else has added one; the option goes before the configuration.
    theirs = machine.take(folder, "--key", other)["set"]
    assert recipient_of(folder, theirs) == other
    last = machine.take(folder)
    assert recipient_of(folder, last["set"]) == key and last["parent"] == first, last
    text = open(machine.conf, encoding="utf-8").read()
    with open(machine.conf, "w", encoding="utf-8") as file:
        file.write(text.replace(key, "pando-backup-public:12"))
    done = run(machine, "backup", "--to", folder)
    assert done.returncode == 2 and "backup_key" in done.stderr, done.stderr


def forge(folder, name, days):
    """A set as anybody can add who may write there: all of another one, and of a moment to come."""
    when = time.time() + days * 86400
    forged = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(when)) + "-0badc0de"
    shutil.copytree(os.path.join(folder, name), os.path.join(folder, forged))
    path = os.path.join(folder, forged, "manifest.json")
    text = open(path, encoding="utf-8").read().replace(name, forged)
    text = re.sub(r'"moment_s": \d+', f'"moment_s": {int(when)}', text)
    text = re.sub(r'"moment": "[^"]*"', time.strftime('"moment": "%Y-%m-%dT%H:%M:%SZ"', time.gmtime(when)), text)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    path = os.path.join(folder, forged, "SHA256SUMS")
    sums = open(path, encoding="utf-8").read()
    digest = hashlib.sha256(text.encode()).hexdigest()
    with open(path, "w", encoding="utf-8") as file:
        file.write(re.sub(r"[0-9a-f]{64}  manifest.json", f"{digest}  manifest.json", sums))
    return forged


def test_a_set_of_a_moment_to_come_is_no_parent_pushes_out_none_and_is_restored_by_its_name_alone(c):
    c.heal()
    folder, (key, secret) = new_folder(c, "ahead"), new_key(c, "ahead")
    first = take(c, folder, "--key", key)["set"]
    forged = [forge(folder, first, days) for days in (365, 730)]
    assert finished(folder) == {first, *forged}
    done = run(c, "backup", "--to", folder, "--key", key, "--json")
    second = json.loads(done.stdout)
    assert done.returncode == 0 and second["parent"] == first, done.stdout
    assert forged[1] in done.stderr and "has not come yet" in done.stderr, done.stderr
    for row in json.loads(run(c, "backup", "list", "--from", folder, "--json").stdout):
        assert ("has not come yet" in row["problems"]) == (row["set"] in forged), row
    # One that cannot be read is named, by its exit code too.
    bad = forge(folder, first, 1)
    with open(os.path.join(folder, bad, "manifest.json"), "a", encoding="utf-8") as file:
        file.write("more")
    done = run(c, "backup", "list", "--from", folder, "--json")
    assert done.returncode == 1 and bad in done.stderr and finished(folder) == {first, second["set"], *forged}, done.stderr
    shutil.rmtree(os.path.join(folder, bad))
    assert run(c, "backup", "list", "--from", folder).returncode == 0
    whole = take(c, folder, "--full", "--key", key)["set"]
    for rule in (("--keep", "1"), ("--keep-days", "1")):
        done = run(c, "backup", "prune", "--from", folder, "--dry-run", "--json", *rule)
        # All but the first, on which nothing that is kept stands with --keep.
        gone = {row["set"] for row in json.loads(done.stdout)}
        assert done.returncode == 0 and gone == ({first, second["set"]} if rule[0] == "--keep" else set()), (rule, done.stdout)
    restore = ["restore", "--from", folder, "--key", secret]
    for what in (("--drill", ), ("--mailbox", user(1), "--dry-run"), ("--volume", "a1-1", "--dry-run"), ("--directory", "--dry-run")):
        done = run(c, *restore, *what)
        assert done.returncode == 1 and forged[1] in done.stderr and "--set NAME" in done.stderr, (what, done.stderr)
    for name in (whole, forged[0]):
        done = run(c, *restore, "--set", name, "--mailbox", user(1), "--dry-run")
        assert done.returncode == 0 and name in done.stdout, done.stderr


def test_the_chapter_of_the_manual_does_what_it_says(c):
    c.heal()
    machine = Machine(c, "book")
    book, folder, secret = Runbook(machine, "Backup"), new_folder(c, "book"), os.path.join(c.folder, "book.key")
    said = book.command("pando backup key --out backup.key", backup_key=secret)
    key = re.search(r"pando-backup-public:[0-9a-f]{64}", said).group()
    book.command("pando backup --to /backup --key PUBLIC", _backup=folder, PUBLIC=key)
    c.send("site-a", user(1))
    line = 'echo "backup_key = PUBLIC" >> /etc/pando/pando.conf'
    book.says(line)
    subprocess.run(line.replace("PUBLIC", key).replace("/etc/pando/pando.conf", machine.conf), shell=True, check=True)
    book.command("pando backup --to /backup", _backup=folder)
    sets = sorted(finished(folder))
    assert len(sets) == 2 and all(name in book.command("pando backup list --from /backup", _backup=folder) for name in sets)
    book.command("pando backup verify --from /backup", _backup=folder)
    book.says("with `--key FILE` it also decrypts them", "sha256sum --check SHA256SUMS")
    for name in sets:
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=os.path.join(folder, name), check=True)
    # The timer's command, as systemd would run it.
    line = re.search(r"ExecStart=(.*)$", open(OPERATING, encoding="utf-8").read(), re.M).group(1)
    line = line.replace("%%", "%").replace("/backup", folder)
    assert shlex.split(line)[:2] == ["/bin/sh", "-c"] and "--full" in line, line
    environment = {**os.environ, "PATH": f"{os.path.dirname(demo.PANDO)}:{os.environ['PATH']}", "PANDO_CONF": machine.conf}
    subprocess.run(shlex.split(line), env=environment, check=True, stdout=subprocess.DEVNULL)
    assert len(finished(folder)) == 3
    for _ in range(2):
        take(c, folder, "--full", "--key", key)
    book.command("pando backup prune --from /backup --keep 30", _backup=folder)
    book.command("pando backup prune --from /backup --keep-days 30", _backup=folder)
    assert len(finished(folder)) == 5
    # A volume's mail is where it was.
    before = ends(c)
    covers(take(c, folder), before)
