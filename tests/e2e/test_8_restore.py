"""Mail comes back out of a backup: exactly once, as it was; and a drill tells what could not."""

import concurrent.futures
import contextlib
import glob
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import demo
from runbook import Runbook
from test_6_disks import NODE
from test_6_restarts import flip
from test_7_scrub import OTHER, find_in, of_node
from test_7_standalone import Machine
from test_7_staged_logs import segments_of
from test_8_who import sql
from world import DOMAIN, PASSWORD, make_message, unmount, user, wait_for

SLOW = True
SEED = 20261127
DATE = '"17-Jul-1996 02:44:25 -0700"'
MEANT = b"17-Jul-1996 09:44:25 +0000"


def run(c, *arguments, timeout=300):
    return subprocess.run([demo.PANDO, "--config", c.conf, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=timeout)


class Backup:
    """A folder with sets, and the key of it."""

    def __init__(self, c, name):
        self.c, self.dir = c, os.path.join(c.folder, f"restore-{name}")
        self.key, self.work = f"{self.dir}.key", f"{self.dir}.work"
        os.makedirs(self.dir)
        os.makedirs(self.work)
        done = run(c, "backup", "key", "--out", self.key)
        assert done.returncode == 0, done.stderr

    def take(self, *options):
        public = re.search(r"pando-backup-public:[0-9a-f]{64}", open(self.key).read()).group()
        done = run(self.c, "backup", "--to", self.dir, "--json", "--key", public, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)["set"]

    def arguments(self, *more):
        return ["restore", "--from", self.dir, "--key", self.key, "--work", self.work, *more]

    def restore(self, *more, code=0):
        done = run(self.c, *self.arguments(*more, "--json"))
        assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
        assert os.listdir(self.work) == [], os.listdir(self.work)
        return json.loads(done.stdout)

    def refused(self, *more, code=1):
        done = run(self.c, *self.arguments(*more))
        assert done.returncode == code and not done.stdout, f"{done.returncode}: {done.stdout}{done.stderr}"
        assert os.listdir(self.work) == [], os.listdir(self.work)
        return done.stderr


def folder_of(c, name, folder):
    """{subject: [(flags, date)]}"""
    imap = c.imap("site-a", name)
    status, answer = imap.select(f'"{folder}"', readonly=True)
    found = {}
    if status == "OK" and int(answer[0]):
        for part in imap.uid("FETCH", "1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")[1]:
            if isinstance(part, tuple):
                flags = frozenset(re.search(rb"FLAGS \(([^)]*)\)", part[0])[1].split()) - {b"\\Recent"}
                date = re.search(rb'INTERNALDATE "([^"]*)"', part[0])[1]
                subject = re.search(rb"(?m)^Subject: (.*?)\r$", part[1])[1].decode()
                found.setdefault(subject, []).append((flags, date, len(part[1])))
    imap.logout()
    return found if status == "OK" else None


def make(c, local):
    name = f"{local}{os.getpid()}@{DOMAIN}"
    c.pando("mailbox", "add", name, "--password", PASSWORD)
    wait_for(name, 10, lambda: c.send("site-a", name))
    wait_for("its mail", 10, lambda: len(c.mailbox(name)[0]) >= 1)
    return name


def fill(c, name, folder, count=5, size=0):
    imap = c.imap("site-a", name)
    imap.create(f'"{folder}"')
    subjects = [c.unique("restored") for _ in range(count)]
    for i, subject in enumerate(subjects):
        flags = ["(\\Seen $Work)", "(\\Flagged \\Answered)", "()"][i % 3]
        assert imap.append(f'"{folder}"', flags, DATE, make_message(subject, size))[0] == "OK"
    imap.logout()
    return subjects


def delete(c, name, folder):
    imap = c.imap("site-a", name)
    assert imap.delete(f'"{folder}"')[0] == "OK"
    imap.logout()


def expunge(c, name, folder="INBOX", uids="1:*"):
    imap = c.imap("site-a", name)
    imap.select(f'"{folder}"')
    imap.uid("STORE", uids, "+FLAGS.SILENT", "(\\Deleted)")
    imap.expunge()
    imap.logout()


def sums(result):
    """Over the folders."""
    names = ("messages", "brought", "stands", "there", "before", "freed", "damaged", "refused")
    return {name: sum(row[name] for row in result["folders"]) for name in names}


def test_a_folder_that_its_owner_deleted_comes_back_as_it_was(c):
    c.heal()
    backup, name = Backup(c, "folder"), make(c, "folder")
    subjects = fill(c, name, "Projects, more/2026")
    kept = folder_of(c, name, "Projects, more/2026")
    backup.take()
    later = fill(c, name, "Projects, more/2026", 2)
    second = backup.take()
    whole = folder_of(c, name, "Projects, more/2026")
    delete(c, name, "Projects, more/2026")
    book = Runbook(c, "Restore")
    names = {"_backup": backup.dir, "backup_key": backup.key, "anna_example_org": name, "Projects": "Projects, more/2026"}
    dry = book.command("pando restore --from /backup --key backup.key --mailbox anna@example.org --dry-run", **names)
    assert "would be brought back" in dry and folder_of(c, name, "Projects, more/2026") is None, dry
    said = book.command("pando restore --from /backup --key backup.key --mailbox anna@example.org --folder Projects", **names)
    assert "7 messages brought back" in said and second in said, said
    date = re.search(r"backup of (\d{4}-\d\d-\d\d)T", said)[1]
    assert folder_of(c, name, f"Restored {date}/Projects, more/2026") == whole
    assert set(kept) == set(subjects) and set(whole) == {*subjects, *later}
    assert any(flags == {b"\\Seen", b"$Work"} and when == MEANT for flags, when, _ in kept[subjects[0]]), kept
    # Again it changes nothing; to its own folder it comes as well.
    again = backup.restore("--mailbox", name, "--folder", "Projects, more/2026")
    assert sums(again)["brought"] == 0 and sums(again)["there"] == 7, again
    book.command("pando restore --from /backup --key backup.key --mailbox anna@example.org --missing", **names)
    assert folder_of(c, name, "Projects, more/2026") == whole
    # The older set has what there was then.
    first = sorted(os.listdir(backup.dir))[0]
    older = backup.restore("--set", first, "--mailbox", name, "--folder", "Projects, more/2026", "--into", "Older")
    assert sums(older)["brought"] == 5, older
    assert folder_of(c, name, "Older/Projects, more/2026") == kept
    assert "no folder `Nothing`" in backup.refused("--mailbox", name, "--folder", "Nothing")
    assert "has no mailbox" in backup.refused("--mailbox", f"nobody@{DOMAIN}")
    # Who it was stands in the logs of router and home.
    logs = [open(daemon.log, errors="replace").read() for daemon in c.daemons()]
    assert sum(len(re.findall(r' salvage_login .*who="ctl ', log)) for log in logs) >= 2


def test_one_message_comes_back_and_the_quota_is_no_obstacle(c):
    c.heal()
    backup, name = Backup(c, "message"), make(c, "message")
    wanted = c.send("site-a", name, size=50000)
    wait_for("it", 10, lambda: wanted in c.subjects(name))
    uid = next(u for u, (subject, _) in c.mailbox(name)[0].items() if subject == wanted)
    backup.take()
    expunge(c, name)
    c.pando("mailbox", "set", name, "--quota", "1000")
    book = Runbook(c, "Restore")
    line = "pando restore --from /backup --key backup.key --mailbox anna@example.org --folder INBOX --uid 17 --into Back"
    said = book.command(line, _backup=backup.dir, backup_key=backup.key, anna_example_org=name, **{"17": str(uid)})
    assert "1 message brought back" in said, said
    assert list(folder_of(c, name, "Back/INBOX")) == [wanted]
    for into in ("Back/", "/Back", "Back//more", "Ba*ck", "100%", "Ba\tck", "x" * 1001):
        assert "--into names a folder" in backup.refused("--mailbox", name, "--into", into, code=2), into
    assert "a shorter one with --into: INBOX" in backup.refused("--mailbox", name, "--into", "x" * 998)
    # One that the backup does not have is named, and the others come back.
    result = backup.restore("--mailbox", name, "--folder", "INBOX", "--uid", f"{uid},4000000000", "--into", "Other", code=1)
    assert sums(result)["brought"] == 1, result
    assert "4000000000" in json.dumps(result) and "no such message" in json.dumps(result), result
    assert list(folder_of(c, name, "Other/INBOX")) == [wanted]
    done = run(c, *backup.arguments("--mailbox", name, "--folder", "INBOX", "--uid", "4000000000:4000000009"))
    assert done.returncode == 1 and "none of 4000000000:4000000009" in done.stdout, done.stdout + done.stderr
    assert "folder" in backup.refused("--mailbox", name, "--uid", "1", code=2)
    assert "two commands" in backup.refused("--mailbox", name, "--drill", code=2)


def test_what_is_missing_comes_back_once_however_often_it_is_tried_and_killed(c):
    c.heal()
    chance = random.Random(SEED)
    backup, name = Backup(c, "missing"), make(c, "missing")
    twice = c.unique("twice")
    subjects = fill(c, name, "Many", 200, 4000)
    imap = c.imap("site-a", name)
    # Two of the same bytes and date are two.
    for _ in range(2):
        imap.append("Many", "()", DATE, make_message(twice))
    imap.logout()
    before = folder_of(c, name, "Many")
    backup.take()
    uids = sorted(c.mailbox(name, folder="Many")[0])
    gone = [uid for uid in uids if chance.random() < 0.7] + uids[-1:]
    expunge(c, name, "Many", ",".join(map(str, gone)))
    assert sums(backup.restore("--mailbox", name, "--missing", "--dry-run"))["brought"] == len(gone)
    stands = [len(uids) - len(gone)]
    imap = c.imap("site-a", name)

    def there():
        """Asking is quicker than bringing."""
        return int(re.search(rb"MESSAGES (\d+)", imap.status("Many", "(MESSAGES)")[1][0])[1])

    for number in range(8):
        process = subprocess.Popen([demo.PANDO, "--config", c.conf, *backup.arguments("--mailbox", name, "--missing")],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if number < 2:
            time.sleep(chance.uniform(0, 0.1))
        else:
            # Once some more are back: more and more of them.
            end = time.monotonic() + 60
            while process.poll() is None and there() <= stands[-1] + 3 * number and time.monotonic() < end:
                pass
        process.kill()
        process.wait()
        stands.append(there())
    # Some were killed while they brought messages.
    assert len({count for count in stands if stands[0] < count < len(uids)}) >= 2, stands
    imap.logout()
    # One that was killed before its keeper began leaves a folder with nothing in it.
    wait_for("the work folders to go", 10, lambda: not any(files for _, _, files in os.walk(backup.work)))
    for _ in range(2):
        last = backup.restore("--mailbox", name, "--missing")
        assert folder_of(c, name, "Many") == before
    assert sums(last)["brought"] == 0 and sums(last)["messages"] == len(subjects) + 3, last
    # What its owner has deleted once more is not forced upon him.
    expunge(c, name, "Many", f"{max(c.mailbox(name, folder='Many')[0])}")
    assert sums(backup.restore("--mailbox", name, "--missing"))["before"] == 1


def test_a_restore_goes_on_where_its_home_is_then(c):
    c.heal()
    backup, name = Backup(c, "failover"), make(c, "failover")
    fill(c, name, "Many", 600, 2000)
    before = folder_of(c, name, "Many")
    backup.take()
    delete(c, name, "Many")
    home, other = c.home(name)["home"], {"node-a1": "node-b1", "node-a2": "node-b2"}
    process = subprocess.Popen([demo.PANDO, "--config", c.conf, *backup.arguments("--mailbox", name, "--missing")],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for("some to be back", 30, lambda: len(folder_of(c, name, "Many") or {}) > 10)
    assert process.poll() is None
    c.pando("failover", home, "--to", "site-b")
    said, complaints = process.communicate(timeout=120)
    assert process.returncode == 0 and c.home(name)["home"] == other[home], (said, complaints)
    c.heal()
    assert folder_of(c, name, "Many") == before


def test_a_mailbox_that_was_removed_and_made_again_gets_the_mail(c):
    c.heal()
    backup, name = Backup(c, "again"), make(c, "again")
    subjects = fill(c, name, "Work", 3)
    backup.take()
    c.pando("mailbox", "remove", name)
    assert "pando mailbox restore" in backup.refused("--mailbox", name)
    c.pando("mailbox", "add", name, "--password", PASSWORD)
    wait_for(name, 10, lambda: c.send("site-a", name))
    # Whose it is now nobody knows but who asks.
    for options in ((), ("--missing", ), ("--missing", "--dry-run")):
        assert "--other-mailbox" in backup.refused("--mailbox", name, *options)
    wait_for("its mail", 10, lambda: len(c.mailbox(name)[0]) == 1)
    assert folder_of(c, name, "Work") is None
    result = backup.restore("--mailbox", name, "--missing", "--other-mailbox")
    assert result["is_another_mailbox"] and sums(result)["brought"] == 4, result
    assert set(folder_of(c, name, "Work")) == set(subjects)
    # One that has another address by now is still the same.
    other = make(c, "renamed")
    moved = fill(c, other, "Work", 2)
    backup.take()
    delete(c, other, "Work")
    c.pando("mailbox", "rename", other, f"new-{other}")
    wait_for("the name", 10, lambda: c.send("site-a", f"new-{other}"))
    result = backup.restore("--mailbox", other, "--missing")
    assert not result["is_another_mailbox"] and result["into"] == f"new-{other}", result
    assert set(folder_of(c, f"new-{other}", "Work")) == set(moved)
    # By the address that the set does not know.
    delete(c, f"new-{other}", "Work")
    result = backup.restore("--mailbox", f"new-{other}", "--folder", "Work", "--into", "By the new name")
    assert (result["mailbox"], result["into"]) == (other, f"new-{other}") and sums(result)["brought"] == 2, result
    assert set(folder_of(c, f"new-{other}", "By the new name/Work")) == set(moved)


def test_a_directory_that_cannot_say_which_mailbox_it_is_names_no_other(c):
    """The mailbox is there, under a new address and with a mark that is none; its old address is somebody else's."""
    c.heal()
    backup, name = Backup(c, "unsaid"), make(c, "unsaid")
    backup.take()
    c.pando("mailbox", "rename", name, f"new-{name}")
    c.pando("mailbox", "add", name, "--password", PASSWORD)
    wait_for(name, 10, lambda: c.send("site-a", name))
    was = sql(c, f"select mark from mailbox where address = 'new-{name}';").strip()
    rule = sql(c, "select pg_get_constraintdef(oid) from pg_constraint where conname = 'mailbox_mark_check';").strip()
    try:
        sql(c, f"alter table mailbox drop constraint mailbox_mark_check; update mailbox set mark = 'none' where mark = '{was}';")
        for options in ((), ("--other-mailbox", )):
            assert f"mark of new-{name} is none" in backup.refused("--mailbox", name, *options)
    finally:
        sql(c, f"update mailbox set mark = '{was}' where mark = 'none'; alter table mailbox add constraint mailbox_mark_check {rule};")
    assert not backup.restore("--mailbox", name)["is_another_mailbox"]
    c.heal()


def test_a_wrong_key_a_wrong_set_and_no_room_are_said(c):
    c.heal()
    backup, name = Backup(c, "wrong"), make(c, "wrong")
    other = Backup(c, "stranger")
    backup.take()
    backup.key, kept = other.key, backup.key
    for what in (("--mailbox", name), ):
        assert "key" in backup.refused(*what)
    backup.key = kept
    digits = re.search(r"pando-backup-secret:([0-9a-f]{64})", open(kept).read())[1]
    for kind in ("public", "secret"):
        backup.key = f"pando-backup-{kind}:{digits}"
        said = backup.refused("--mailbox", name)
        assert "--key wants the file" in said and digits[:8] not in said, said
    backup.key = kept
    assert "others" not in run(c, *backup.arguments("--mailbox", name, "--dry-run")).stderr
    os.chmod(kept, 0o640)
    assert run(c, *backup.arguments("--mailbox", name, "--dry-run")).stderr.count("may be read by others") == 1
    os.chmod(kept, 0o600)
    # A later set that cannot be read is missed.
    older, newest = sorted(os.listdir(backup.dir))[-1], backup.take()
    with open(os.path.join(backup.dir, newest, "manifest.json"), "a", encoding="utf-8") as manifest:
        manifest.write(" ")
    said = backup.refused("--mailbox", name)
    assert f"a later set than {older} cannot be used" in said and newest in said and "--set NAME" in said, said
    backup.restore("--set", older, "--mailbox", name, "--dry-run")
    shutil.rmtree(os.path.join(backup.dir, newest))
    assert "19990101T000000Z-00000000" in backup.refused("--set", "19990101T000000Z-00000000", "--mailbox", name)
    assert "--key" in backup.refused("--mailbox", name, "--key", "x", code=2)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", backup.work], check=True)
    try:
        assert "make room" in backup.refused("--mailbox", name)
    finally:
        unmount(backup.work)


def test_an_option_that_would_say_nothing_is_refused(c):
    """Before anything is opened: neither the folder nor the key is there."""
    own = {"mailbox": ["--folder", "--uid", "--into", "--missing", "--other-mailbox", "--work", "--dry-run", "--json"],
           "drill": ["--sample", "--report", "--work", "--json"], "volume": ["--accept-loss", "--other-cluster", "--dry-run", "--json"],
           "directory": ["--other-cluster", "--dry-run"]}
    valued = {"mailbox", "volume", "--folder", "--uid", "--into", "--work", "--sample", "--report"}
    for subject, mine in own.items():
        said = [f"--{subject}", *(["v1"] if subject in valued else [])]
        for option in {name for names in own.values() for name in names}:
            done = run(c, "restore", "--from", "/nonexistent", "--key", "/nonexistent", *said, option, *(["5"] if option in valued else []))
            refused = done.returncode == 2 and f"{option} says nothing with --{subject}" in done.stderr
            assert refused == (option not in mine) and not done.stdout, (subject, option, done.returncode, done.stderr)


def has_in_memory(process, wanted):
    """Whether the bytes stand anywhere that the process may write."""
    found = False
    with open(f"/proc/{process}/maps", encoding="utf-8") as maps, open(f"/proc/{process}/mem", "rb", 0) as memory:
        for begin, end in re.findall(r"^(\w+)-(\w+) rw", maps.read(), re.M):
            begin, end = int(begin, 16), int(end, 16)
            try:
                memory.seek(begin)
                found = found or wanted in memory.read(end - begin)
            except OSError:
                pass
    return found


def test_the_process_that_keeps_the_work_folder_never_has_the_key(c):
    c.heal()
    backup = Backup(c, "keeper")
    backup.take()
    secret = bytes.fromhex(re.search(r"pando-backup-secret:([0-9a-f]{64})", open(backup.key).read())[1])
    process = subprocess.Popen([demo.PANDO, "--config", c.conf, *backup.arguments("--drill")], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        wait_for("something to be unpacked", 30, lambda: glob.glob(f"{backup.work}/*/volume/*.log"))
        process.send_signal(signal.SIGSTOP)
        keepers = open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="utf-8").read().split()
        assert len(keepers) == 1 and has_in_memory(process.pid, secret)
        assert not has_in_memory(keepers[0], secret)
    finally:
        process.kill()
        process.wait()
    wait_for("the folder to go", 10, lambda: os.listdir(backup.work) == [])


def end_while_unpacked(c, backup, number, *more):
    process = subprocess.Popen([demo.PANDO, "--config", c.conf, *backup.arguments("--drill", *more)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    wait_for("something to be unpacked", 30, lambda: glob.glob(f"{backup.work}/*/volume/*.log"))
    folder = glob.glob(f"{backup.work}/*")[0]
    assert os.stat(folder).st_mode & 0o777 == 0o700
    process.send_signal(number)
    assert process.wait(30) == -number, process.returncode


def test_the_work_folder_goes_with_the_command(c):
    c.heal()
    backup = Backup(c, "signals")
    backup.take()
    report = f"{backup.dir}.report"
    for number in (signal.SIGTERM, signal.SIGINT):
        end_while_unpacked(c, backup, number, "--report", report)
        assert os.listdir(backup.work) == [] and not os.path.exists(report)
    end_while_unpacked(c, backup, signal.SIGKILL)
    wait_for("the folder to go", 10, lambda: os.listdir(backup.work) == [])


@contextlib.contextmanager
def load(c):
    """Mail comes, and goes."""
    stopped = threading.Event()

    def work():
        for number in range(1, 100000):
            if stopped.is_set():
                return
            c.send("site-a", user(1 + number % 40))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def gone_of(c, name, result):
    """In the volume of the mailbox: elsewhere the time of what earlier tests removed may be over meanwhile."""
    return [v["gone"] for v in result["volumes"] if v["volume"] == c.home(name)["volume"]][0]


def test_a_drill_on_a_living_cluster_finds_all_equal_and_counts_what_is_gone(c):
    c.heal()
    backup, name = Backup(c, "drill"), make(c, "drill")
    fill(c, name, "Some", 6)
    moved = fill(c, name, "Moved", 3)
    with load(c):
        backup.take()
        backup.take()
        # Mailboxes that other tests have removed.
        before = gone_of(c, name, backup.restore("--drill"))
        some, others = (sorted(c.mailbox(name, folder=folder)[0]) for folder in ("Some", "Moved"))
        expunge(c, name, "Some", f"{some[0]},{some[1]}")
        imap = c.imap("site-a", name)
        imap.select("Moved")
        imap.uid("MOVE", str(others[0]), "Some")
        imap.rename("Moved", "Renamed")
        imap.logout()
        result = backup.restore("--drill")
    assert gone_of(c, name, result) == before + 3, (before, result)
    assert result["good"] and result["differs"] == 0 and not result["problems"], result
    assert result["equal"] == result["messages"] - result["gone"] - result["mailbox_gone"] > 9 and len(moved) == 3, result
    assert {v["failure"] for v in result["volumes"]} == {None} and result["restore_s"] > 0, result
    book, report = Runbook(c, "Restore"), os.path.join(c.folder, "drill.txt")
    said = book.command("pando restore --from /backup --key backup.key --drill --report drill.txt", _backup=backup.dir, backup_key=backup.key,
                        drill_txt=report)
    assert said == open(report).read() and "GOOD" in said and "byte by byte" in said, said
    sampled = backup.restore("--drill", "--sample", "20")
    assert sampled["good"] and 0 < sampled["left_out"] < sampled["messages"] == result["messages"], sampled
    assert sampled["left_out"] + sampled["equal"] + sampled["gone"] + sampled["mailbox_gone"] == sampled["messages"], sampled
    # What stands there is not replaced, and nothing is unpacked for it.
    assert "already" in backup.refused("--drill", "--report", backup.key) and "pando-backup-secret" in open(backup.key).read()
    assert "none/drill.txt" in backup.refused("--drill", "--report", f"{c.folder}/none/drill.txt")
    assert "1 to 100" in backup.refused("--drill", "--sample", "0", code=2)


def test_a_drill_is_not_good_where_the_cluster_has_no_mailbox_of_the_backup(c):
    c.heal()
    backup, name = Backup(c, "stranger-drill"), make(c, "leaves")
    count = len(fill(c, name, "Some", 4)) + 1
    backup.take()
    before = backup.restore("--drill")
    c.pando("mailbox", "remove", name)
    result = backup.restore("--drill")
    # One that was removed among others is nothing to worry about.
    assert result["good"] and result["mailbox_gone"] == before["mailbox_gone"] + count and result["gone"] == before["gone"], result
    # Another cluster has none.
    folder = tempfile.mkdtemp(prefix="pando-stranger-")
    try:
        done = subprocess.run([demo.PANDO, "--config", Machine(folder).conf, *backup.arguments("--drill")], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=300)
        assert done.returncode == 1 and "GOOD" not in done.stdout, done.stdout + done.stderr
        assert "BAD: none of its messages was found the same" in done.stdout, done.stdout
        assert re.search(r"not there any more +[1-9]", done.stdout) and re.search(r"expunged or moved\) +0", done.stdout), done.stdout
    finally:
        shutil.rmtree(folder)


def wait_in_vain(c, backup, *more):
    began = time.monotonic()
    process = subprocess.Popen([demo.PANDO, "--config", c.conf, *backup.arguments(*more)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    first = process.stderr.readline()
    said, complaints = process.communicate(timeout=90)
    assert process.returncode == 1 and time.monotonic() - began < 60, (time.monotonic() - began, said, complaints)
    return said, first, complaints


def test_who_does_not_answer_is_named_and_waited_for_once(c):
    c.heal()
    backup, name = Backup(c, "away"), make(c, "away")
    for folder in ("One", "Two", "Three"):
        fill(c, name, folder, 2)
    backup.take()
    home = c.home(name)["home"]
    c.daemon(f"{home}/node").stop()
    try:
        # Both wait for it at the same time.
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            drill = pool.submit(run, c, *backup.arguments("--drill", "--json"))
            said, first, complaints = wait_in_vain(c, backup, "--mailbox", name, "--dry-run")
        assert f"the home of {name} at {home} does not answer" in first and "pando status" in first, first
        assert f"the home of {name} at {home} does not answer" in complaints, complaints
        assert "could not be looked at" in complaints and "still to be" not in complaints, complaints
        result = json.loads(drill.result().stdout)
        away = [problem for problem in result["problems"] if problem["kind"] == "not_asked"]
        assert not result["good"] and sum(problem["messages"] for problem in away) == result["not_asked"] >= 7, result
        assert len(away) == len({problem["mailbox"] for problem in away}), away
    finally:
        c.daemon(f"{home}/node").start()
    c.heal()
    routers = [daemon for daemon in c.daemons() if daemon.kind == "router"]
    for daemon in routers:
        daemon.stop()
    try:
        _, first, complaints = wait_in_vain(c, backup, "--mailbox", name, "--missing")
        assert re.search(r"the router \S+ at \S+:\d+ does not answer", first), first
        assert "still to be brought back" in complaints, complaints
    finally:
        for daemon in routers:
            daemon.start()
    c.heal()


def test_a_drill_says_which_part_of_a_backup_is_damaged(c):
    c.heal()
    backup = Backup(c, "damaged")
    backup.take()
    path = max(glob.glob(f"{backup.dir}/*/volume-*.pbk"), key=os.path.getsize)
    number = int(re.search(r"volume-(\d+)-", path)[1])
    volume = next(v["volume"] for v in c.pando_json("volume", "list") if v["id"] == number)
    flip(path, os.path.getsize(path) // 2)
    result = backup.restore("--drill", code=1)
    assert not result["good"] and [v["volume"] for v in result["volumes"] if v["failure"]] == [volume], result
    said = run(c, *backup.arguments("--drill"))
    assert said.returncode == 1 and "BAD" in said.stdout and f"volume {volume}: cannot be restored" in said.stdout, said.stdout


def test_a_drill_names_a_message_that_has_changed_in_the_living_cluster(c):
    c.heal()
    backup, (name, _, number) = Backup(c, "rotten"), of_node(c)
    subject = c.send("site-a", name, size=100000)
    c.wait_mail(name, subject)
    uid = next(u for u, (found, _) in c.mailbox(name)[0].items() if found == subject)
    backup.take()
    wait_for("the other copy", 20, lambda: any(subject.encode() in open(path, "rb").read()
                                               for path in segments_of(c, OTHER, number)[-1:]))
    for node in (NODE, OTHER):
        path = segments_of(c, node, number)[-1]
        flip(path, find_in(path, subject) + 50000)
    result = backup.restore("--drill", code=1)
    assert result["differs"] == 1 and not result["good"], result
    problem = result["problems"][0]
    assert (problem["mailbox"], problem["folder"], problem["uid"]) == (name, "INBOX", uid), problem
    for node in (NODE, OTHER):
        path = segments_of(c, node, number)[-1]
        flip(path, find_in(path, subject) + 50000)
    assert backup.restore("--drill")["good"]
