"""Two PostgreSQL servers that can both be written: the old one and the standby that was promoted beside it. The runbook
of docs/operating.md (Two directories), with real servers."""

import contextlib
import functools
import os
import re
import shutil
import subprocess
import time

import demo
import world
from demo import POSTGRES_BIN
from world import DOMAIN, user, wait_for


class Servers:
    """The cluster's PostgreSQL as `old`, and others beside it, by name."""

    def __init__(self, cluster):
        self.cluster, self.folder = cluster, cluster.postgres_folder
        self.ports = {"old": cluster.postgres_port(), "new": cluster.postgres_port() + 1, "third": cluster.postgres_port() + 2}

    def host(self, name):
        return f"127.0.0.1:{self.ports[name]}"

    def data(self, name):
        return os.path.join(self.folder, "data" if name == "old" else name)

    def psql(self, name, statement, database="pando"):
        return self.cluster.as_postgres(f"{POSTGRES_BIN}/psql", "-q", "-A", "-t", "-h", self.folder, "-p", str(self.ports[name]),
                                        "-U", "pando", "-d", database, "-c", statement).strip()

    def control(self, name, *words):
        self.cluster.as_postgres(f"{POSTGRES_BIN}/pg_ctl", "-D", self.data(name), "-w", "-t", "30", "-s",
                                 "-l", os.path.join(self.folder, f"{name}.log"), *words)

    def start(self, name):
        self.control(name, "start")

    def stop(self, name):
        if os.path.exists(os.path.join(self.data(name), "postmaster.pid")):
            self.control(name, "-m", "immediate", "stop")

    def stops(self):
        return [functools.partial(self.stop, name) for name in self.ports]

    def make_standby(self, name, of):
        shutil.rmtree(self.data(name), ignore_errors=True)
        self.cluster.as_postgres(f"{POSTGRES_BIN}/pg_basebackup", "--no-password", "--write-recovery-conf", "--pgdata",
                                 self.data(name), "--checkpoint=fast", "-h", self.folder, "-p", str(self.ports[of]), "-U", "pando")
        self.set_port(name)
        self.start(name)

    def set_port(self, name):
        with open(os.path.join(self.data(name), "postgresql.conf"), "a") as file:
            file.write(f"port = {self.ports[name]}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{self.folder}'\n")

    def make_from_dump(self, name, of):
        """As a new major version, or another house, would have it: another system identifier."""
        dump = self.cluster.as_postgres(f"{POSTGRES_BIN}/pg_dumpall", "-h", self.folder, "-p", str(self.ports[of]), "-U", "pando")
        self.cluster.as_postgres(f"{POSTGRES_BIN}/initdb", "-D", self.data(name), "-U", "pando", "--auth-local=trust",
                                 "--auth-host=scram-sha-256", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
        self.set_port(name)
        self.start(name)
        script = os.path.join(self.folder, "dump.sql")
        with open(script, "w") as file:
            file.write(dump)
        os.chmod(script, 0o644)
        self.cluster.as_postgres(f"{POSTGRES_BIN}/psql", "-q", "-h", self.folder, "-p", str(self.ports[name]), "-U", "pando",
                                 "-d", "postgres", "-f", script)

    def use(self, *names):
        """What `directory` names, on all machines."""
        for conf in [self.cluster.conf, *{daemon.config for daemon in self.cluster.daemons()}]:
            text = open(conf).read()
            hosts = ",".join(self.host(name) for name in names)
            with open(conf, "w") as file:
                file.write(re.sub(r"(?m)^(directory = \S+@)[^/]+/", rf"\g<1>{hosts}/", text))


def pando(c, *arguments):
    done = subprocess.run([demo.PANDO, "--config", c.conf, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def failures(c):
    return {row["what"]: row["detail"] for row in c.pando_json("check", check=False) if row["result"] == "FAILED"}


def is_refused(c, site, to):
    with c.smtp(site) as smtp:
        smtp.ehlo()
        smtp.mail("sender@example.net")
        return smtp.rcpt(to)[0] == 550


def logged(c, event, count):
    """Since the last call of forget_logs."""
    return sum(event in open(daemon.log).read()[c.log_sizes.get(daemon.log, 0):] for daemon in c.daemons()) >= count


def forget_logs(c):
    c.log_sizes = {daemon.log: os.path.getsize(daemon.log) for daemon in c.daemons()}


def enable(servers, name, number, enabled):
    servers.psql(name, f"set search_path = pando; update mailbox set enabled = {enabled} where address = '{user(number)}'")


@contextlib.contextmanager
def two_servers(c, name):
    """A cluster of its own whose directory has a standby: (cluster, servers)."""
    two = world.World(os.path.join(c.folder, name), world.free_offset())
    servers = None
    try:
        two.create(["site-a", "site-b"], 1)
        servers = Servers(two)
        servers.make_standby("new", "old")
        servers.use("old", "new")
        two.start()
        two.wait_serving()
        two.wait_nodes()
        yield two, servers
    finally:
        two.end(*(servers.stops() if servers else ()))


def test_a_promoted_standby_is_the_directory_and_the_old_server_is_not(c):
    with two_servers(c, "two") as (two, servers):
        a_standby_is_named_and_nothing_is_wrong(two, servers)
        both_can_be_written(two, servers)
        the_old_one_alone_is_not_believed(two, servers)
        the_runbook_makes_one_of_two(two, servers)
        a_server_that_takes_no_writes_is_named(two, servers)
        a_directory_from_a_dump_is_adopted(two, servers)


def a_standby_is_named_and_nothing_is_wrong(c, servers):
    rows = {row["server"]: row for row in c.pando_json("directory", "list")}
    assert rows[servers.host("old")]["state"] == "writable" and rows[servers.host("old")]["used"] is True, rows
    assert rows[servers.host("new")]["state"] == "standby" and rows[servers.host("new")]["used"] is False, rows
    assert not failures(c), failures(c)
    # An account without any right is told as much.
    servers.psql("old", "create role nobody")
    assert servers.psql("old", "set role nobody; select system_identifier > 0 and timeline_id = 1 and "
                        "pg_walfile_name(pg_current_wal_insert_lsn()) like '00000001%' and pg_postmaster_start_time() < now() "
                        "from pg_control_system(), pg_control_checkpoint()") == "t"


def both_can_be_written(c, servers):
    forget_logs(c)
    servers.psql("new", "select pg_promote()")
    assert servers.psql("old", "select pg_is_in_recovery()") == servers.psql("new", "select pg_is_in_recovery()") == "f"
    code, _, errors = pando(c, "site", "add", "nowhere")
    assert code == 1 and "several PostgreSQL servers can be written" in errors, errors
    assert f"{servers.host('old')} (timeline 1, an old one)" in errors, errors
    code, _, errors = pando(c, "failover", "site-a", "--to", "site-b")
    assert code == 1 and "several PostgreSQL servers can be written" in errors, errors
    code, output, errors = pando(c, "failover", "site-a", "--to", "site-b", "--dry-run")
    assert code == 1 and "would move" in output and "several PostgreSQL servers can be written" in errors, (output, errors)
    found = failures(c)
    assert "is an old one" in found[f"directory server {servers.host('old')}"], found
    assert f"directory server {servers.host('new')}" not in found and "several" in found["directory"], found
    # Looking goes on, at the right one; and every daemon goes there by itself.
    assert pando(c, "status")[0] == 0
    wait_for("the daemons to move", 30, lambda: logged(c, "directory_moves", len(c.daemons())))
    assert set(failures(c)) == {"directory", f"directory server {servers.host('old')}"}, failures(c)
    an_operator_who_sees_the_old_one_only_is_warned(c, servers)
    enable(servers, "old", 1, False)
    enable(servers, "new", 2, False)
    wait_for("the news of the right one", 5, lambda: is_refused(c, "site-a", user(2)))
    assert not is_refused(c, "site-a", user(1)) and not is_refused(c, "site-b", user(1))
    enable(servers, "new", 2, True)
    wait_for("the news of the right one", 5, lambda: not is_refused(c, "site-b", user(2)))


def an_operator_who_sees_the_old_one_only_is_warned(c, servers):
    """From a machine that has never seen another one."""
    folder = os.path.join(c.folder, "elsewhere")
    os.makedirs(folder)
    text = re.sub(r"(?m)^(directory = \S+@)[^/]+/", rf"\g<1>{servers.host('old')}/", open(c.conf).read())
    conf = os.path.join(folder, "pando.conf")
    with open(conf, "w") as file:
        file.write(re.sub(r"(?m)^data_dir = .*$", f"data_dir = {folder}", text))
    done = subprocess.run([demo.PANDO, "--config", conf, "check"], stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1, done.stdout
    for daemon in ("node node-a1", "replicator node-b1", "router router-a"):
        assert re.search(rf"^{daemon} +FAILED  has the directory from timeline 2, and this machine reaches timeline 1 only", done.stdout,
                         re.M), (daemon, done.stdout)


def the_old_one_alone_is_not_believed(c, servers):
    servers.stop("new")
    forget_logs(c)
    c.stop(site="site-b")
    c.start("site-b")
    wait_for("the refusals", 20, lambda: logged(c, "directory_server_refused", len(c.daemons("site-b"))))
    c.wait_serving(seconds=60)
    time.sleep(1)
    assert not is_refused(c, "site-b", user(1))
    code, _, errors = pando(c, "site", "add", "nowhere")
    assert code == 1 and "is on timeline 1, and the directory has been on 2 already" in errors, errors
    assert "is an old one" in failures(c)[f"directory server {servers.host('old')}"]


def the_runbook_makes_one_of_two(c, servers):
    servers.stop("old")
    servers.start("new")
    servers.make_standby("old", "new")
    wait_for("the daemons", 20, lambda: not failures(c))
    c.pando("mailbox", "add", "later@" + DOMAIN, "--no-password")
    wait_for("the mailbox", 5, lambda: not is_refused(c, "site-a", "later@" + DOMAIN))


def a_server_that_takes_no_writes_is_named(c, servers):
    servers.psql("new", "alter system set default_transaction_read_only = on")
    servers.psql("new", "select pg_reload_conf()")
    try:
        wait_for("the setting", 5, lambda: "default_transaction_read_only is on" in failures(c).get("directory", ""))
        code, _, errors = pando(c, "site", "add", "nowhere")
        assert code == 1 and "default_transaction_read_only is on" in errors, errors
        assert pando(c, "site", "list")[0] == 0
    finally:
        servers.psql("new", "alter system reset default_transaction_read_only")
        servers.psql("new", "select pg_reload_conf()")
    wait_for("the daemons", 10, lambda: not failures(c))


def a_directory_from_a_dump_is_adopted(c, servers):
    servers.stop("old")
    servers.make_from_dump("third", "new")
    servers.stop("new")
    servers.use("third")
    c.stop()
    forget_logs(c)
    c.start()
    wait_for("the refusals", 20, lambda: logged(c, "directory_server_refused", len(c.daemons())))
    code, _, errors = pando(c, "site", "add", "nowhere")
    assert code == 1 and "is another PostgreSQL than the directory's" in errors and "`pando directory adopt`" in errors, errors
    c.pando("directory", "adopt")
    c.pando("mailbox", "add", "last@" + DOMAIN, "--no-password")
    wait_for("the daemons", 20, lambda: not is_refused(c, "site-a", "last@" + DOMAIN) and not failures(c))
    assert pando(c, "directory", "adopt")[0] == 1


def test_a_command_waits_for_another_one_only_so_long(c):
    """Whatever holds the feed's lock: an import that hangs, a session that was forgotten."""
    holder = subprocess.Popen(
        ["/usr/sbin/runuser", "-u", "postgres", "--"] * (os.getuid() == 0) +
        [f"{POSTGRES_BIN}/psql", "-q", "-h", c.postgres_folder, "-p", str(c.postgres_port()), "-U", "pando", "-d", "pando", "-c",
         "begin; select pg_advisory_xact_lock(707166543); select pg_sleep(20)"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/")
    try:
        time.sleep(1)
        start = time.monotonic()
        code, _, errors = pando(c, "domain", "add", "waiting.example")
        assert code == 1 and "nothing was changed, run the command again" in errors, errors
        assert 4 < time.monotonic() - start < 12
    finally:
        c.as_postgres(f"{POSTGRES_BIN}/psql", "-q", "-h", c.postgres_folder, "-p", str(c.postgres_port()), "-U", "pando", "-d",
                      "pando", "-c", "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(20)%' "
                      "and pid <> pg_backend_pid()")
        holder.wait(10)
    c.pando("domain", "add", "waiting.example")
