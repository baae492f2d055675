#!/usr/bin/python3
"""Two sites of Pando on loopback, with a private PostgreSQL; see `demo --help`."""

import argparse
import glob
import hashlib
import imaplib
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("PANDO_BUILD") or os.path.join(TOP, "build")
PROGRAMS = {
    "node": os.path.join(BUILD, "node", "pando-node"),
    "router": os.path.join(BUILD, "router", "pando-router"),
    "replicator": os.path.join(BUILD, "replicator", "pando-replicator"),
}
PANDO = os.path.join(BUILD, "ctl", "pando")
POSTGRES_BIN = "/usr/lib/postgresql/15/bin"
DOMAIN = "example.org"
MAILBOXES = 100
PASSWORD = "pando-demo"
VOLUMES_PER_NODE = 4
# The thousands digit of a site's ports.
SITE_BASE = {"site-a": 2000, "site-b": 3000, "site-c": 4000}
# The highest port of site-c must still be one.
OFFSET_MAX = 60000
FRONT = {
    "smtp": 25, "submission": 587, "submissions": 465, "imap": 143, "imaps": 993, "pop3s": 995,
    "managesieve": 190,
}


class Failure(Exception):
    """A sentence for the person at the terminal."""


def say(text=""):
    print(text, flush=True)


def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise Failure(f"`{' '.join(command)}` failed ({done.returncode}):\n{done.stdout}")
    return done.stdout


def wait_for(what, seconds, check):
    """check() returns a true value when it is so; its last exception is part of the complaint."""
    end = time.monotonic() + seconds
    reason = ""
    while time.monotonic() < end:
        try:
            value = check()
            if value:
                return value
        except (OSError, Failure, smtplib.SMTPException, imaplib.IMAP4.error) as error:
            reason = f": {error}"
        time.sleep(0.02)
    raise Failure(f"{what}: not within {seconds} s{reason}")


class Daemon:
    """One process with its configuration, log and pid file."""

    def __init__(self, machine, kind, site):
        self.kind, self.site, self.machine = kind, site, machine
        self.name = f"{os.path.basename(machine)}/{kind}"
        self.config = os.path.join(machine, "pando.conf")
        self.pid_file = os.path.join(machine, f"{kind}.pid")
        self.log = os.path.join(machine, f"{kind}.log")

    def pid(self):
        """Of the living process that this file names, else None: pids are used again."""
        try:
            pid = int(open(self.pid_file).read())
            command = open(f"/proc/{pid}/cmdline").read()
            name, state = open(f"/proc/{pid}/stat").read().split("(", 1)[1].rsplit(")", 1)
            threads = len(os.listdir(f"/proc/{pid}/task"))
        except (OSError, ValueError):
            return None
        is_ours = name == os.path.basename(PROGRAMS[self.kind])[:15]
        if state.split()[0] == "Z":
            # While a thread still waits for the disk, the process keeps its sockets and locks.
            return pid if threads > 1 and is_ours else None
        # Without memory, and so without arguments, is also one that has just begun or is about to end.
        return pid if self.config in command or (not command and is_ours) else None

    def start(self):
        if self.pid():
            return
        with open(self.log, "ab") as log:
            process = subprocess.Popen([PROGRAMS[self.kind], "--config", self.config], stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log, start_new_session=True)
        with open(self.pid_file, "w") as file:
            file.write(f"{process.pid}\n")

    def send(self, number):
        pid = self.pid()
        if pid:
            os.kill(pid, number)

    def stop(self, number=signal.SIGTERM, seconds=10):
        self.send(number)
        try:
            wait_for(f"end of {self.name}", seconds, lambda: not self.pid() or reap())
        except Failure:
            self.send(signal.SIGKILL)
            wait_for(f"end of {self.name}", seconds, lambda: not self.pid() or reap())


def reap():
    """Our own dead children are nobody's; returns None."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


class Cluster:
    def __init__(self, folder, offset=0):
        self.folder = os.path.abspath(folder)
        self.conf = os.path.join(self.folder, "pando.conf")
        self.state_file = os.path.join(self.folder, "demo.json")
        self.tls = os.path.join(self.folder, "tls")
        self.offset = offset
        self.sites, self.nodes, self.postgres_folder = [], 0, None
        if os.path.exists(self.state_file):
            state = json.load(open(self.state_file))
            self.offset, self.sites = state["offset"], state["sites"]
            self.nodes, self.postgres_folder = state["nodes"], state["postgres"]

    def exists(self):
        return os.path.exists(self.state_file)

    def save(self):
        with open(self.state_file, "w") as file:
            json.dump({"offset": self.offset, "sites": self.sites, "nodes": self.nodes,
                       "postgres": self.postgres_folder}, file)

    def port(self, site, service):
        base = SITE_BASE[site] + self.offset
        return base + (80 if service == "http" else FRONT[service])

    def node_ports(self, site, index):
        base = SITE_BASE[site] + self.offset + 700 + 10 * (index - 1)
        names = ("lmtp", "imap", "control", "replicator", "node_http", "replicator_http")
        return {name: base + i for i, name in enumerate(names)}

    def router_control(self, site):
        return SITE_BASE[site] + self.offset + 600

    def router_queue(self, site):
        return SITE_BASE[site] + self.offset + 601

    def node_name(self, site, index):
        return f"node-{site[-1]}{index}"

    def daemons(self, site=None):
        found = []
        for name in self.sites:
            if site and name != site:
                continue
            for i in range(1, self.nodes + 1):
                machine = os.path.join(self.folder, name, self.node_name(name, i))
                found += [Daemon(machine, "replicator", name), Daemon(machine, "node", name)]
            found.append(Daemon(os.path.join(self.folder, name, f"router-{name[-1]}"), "router", name))
        return found

    def daemon(self, name):
        """By the name that status prints, as node-a1/node."""
        for daemon in self.daemons():
            if daemon.name == name:
                return daemon
        raise Failure(f"there is no daemon {name}")

    def pando(self, *arguments, **options):
        return run(PANDO, "--config", self.conf, *arguments, **options)

    # PostgreSQL ------------------------------------------------------------------------------

    def as_postgres(self, *command):
        """PostgreSQL refuses to run as root."""
        if os.getuid() == 0:
            command = ("/usr/sbin/runuser", "-u", "postgres", "--", *command)
        return run(*command, cwd="/")

    def postgres_port(self):
        return 2432 + self.offset

    def postgres_init(self):
        folder = os.path.join(self.folder, "postgres")
        os.makedirs(folder, mode=0o700)
        if os.getuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
            try:
                self.as_postgres("/usr/bin/test", "-w", folder)
            except Failure:
                # Somewhere above, the postgres account may not pass.
                os.rmdir(folder)
                folder = "/var/tmp/pando-postgres-" + hashlib.sha256(self.folder.encode()).hexdigest()[:12]
                shutil.rmtree(folder, ignore_errors=True)
                os.makedirs(folder, mode=0o700)
                os.chown(folder, owner.pw_uid, owner.pw_gid)
        self.postgres_folder = folder
        self.save()
        data = os.path.join(folder, "data")
        self.as_postgres(f"{POSTGRES_BIN}/initdb", "-D", data, "-U", "pando", "--auth-local=trust",
                         "--auth-host=scram-sha-256", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
        with open(os.path.join(data, "postgresql.conf"), "a") as file:
            file.write(f"listen_addresses = '127.0.0.1'\nport = {self.postgres_port()}\n"
                       f"unix_socket_directories = '{folder}'\nmax_connections = 60\nshared_buffers = 32MB\n")
        self.postgres_start()
        password = secrets.token_hex(16)
        psql = (f"{POSTGRES_BIN}/psql", "-q", "-h", folder, "-p", str(self.postgres_port()), "-U", "pando")
        self.as_postgres(*psql, "-d", "postgres", "-c", f"alter role pando password '{password}'",
                         "-c", "create database pando")
        return f"postgresql://pando:{password}@127.0.0.1:{self.postgres_port()}/pando"

    def postgres_start(self):
        data = os.path.join(self.postgres_folder, "data")
        # -l keeps the server from holding our output open.
        self.as_postgres(f"{POSTGRES_BIN}/pg_ctl", "-D", data, "-w", "-t", "30", "-s",
                         "-l", os.path.join(self.postgres_folder, "log"), "start")

    def postgres_stop(self, mode="fast"):
        if not self.postgres_folder:
            return
        data = os.path.join(self.postgres_folder, "data")
        if os.path.exists(os.path.join(data, "postmaster.pid")):
            try:
                self.as_postgres(f"{POSTGRES_BIN}/pg_ctl", "-D", data, "-w", "-t", "30", "-s", "-m", mode, "stop")
            except Failure as failure:
                if "is not running" not in str(failure) and "No such process" not in str(failure):
                    raise

    # Making it ---------------------------------------------------------------------------------

    def common_config(self, site, name, machine, url):
        return (f"site = {site}\nnode = {name}\ndata_dir = {machine}/data\nrun_dir = {machine}/run\n"
                f"directory = {url}\nhostname = {name}.{site}.{DOMAIN}\n"
                f"cluster_ca = {self.folder}/authority.pem\nplaintext_login = loopback\n")

    def issue(self, role, name):
        files = [os.path.join(self.tls, f"{name}-{role}.{end}") for end in ("pem", "key")]
        run(PANDO, "cert", "issue", "--role", role, "--name", name, "--certificate", files[0], "--key", files[1],
            "--authority", f"{self.folder}/authority.pem", "--authority-key", f"{self.folder}/authority.key")
        return f"{role}_certificate = {files[0]}\n{role}_key = {files[1]}\n"

    def write_node(self, site, index, url):
        name, ports = self.node_name(site, index), self.node_ports(site, index)
        machine = os.path.join(self.folder, site, name)
        for folder in ("data", "run"):
            os.makedirs(os.path.join(machine, folder))
        with open(os.path.join(machine, "pando.conf"), "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(self.common_config(site, name, machine, url))
            file.write(self.issue("node", name) + self.issue("replicator", name))
            file.write(f"node_lmtp_listen = 127.0.0.1:{ports['lmtp']}\n"
                       f"node_imap_listen = 127.0.0.1:{ports['imap']}\n"
                       f"node_control_listen = 127.0.0.1:{ports['control']}\n"
                       f"replicator_listen = 127.0.0.1:{ports['replicator']}\n"
                       f"node_http_listen = 127.0.0.1:{ports['node_http']}\n"
                       f"replicator_http_listen = 127.0.0.1:{ports['replicator_http']}\n")
        self.pando("node", "add", name, "--site", site,
                   *(word for kind in ("lmtp", "imap", "control", "replicator")
                     for word in (f"--{kind}", f"127.0.0.1:{ports[kind]}")))

    def write_router(self, site, url):
        name = f"router-{site[-1]}"
        machine = os.path.join(self.folder, site, name)
        for folder in ("data", "run"):
            os.makedirs(os.path.join(machine, folder))
        run(PANDO, "cert", "self-signed", f"{name}.{site}.{DOMAIN}", "--certificate", f"{self.tls}/{name}-public.pem",
            "--key", f"{self.tls}/{name}-public.key")
        with open(os.path.join(machine, "pando.conf"), "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(self.common_config(site, name, machine, url) + self.issue("router", name))
            file.write(f"public_certificate = {self.tls}/{name}-public.pem\n"
                       f"public_key = {self.tls}/{name}-public.key\n"
                       f"router_control_listen = 127.0.0.1:{self.router_control(site)}\n"
                       f"router_queue_listen = 127.0.0.1:{self.router_queue(site)}\n"
                       f"router_http_listen = 127.0.0.1:{self.port(site, 'http')}\n")
            for service in FRONT:
                port = self.port(site, service)
                file.write(f"{service}_listen = 127.0.0.1:{port} [::1]:{port}\n" if has_ipv6()
                           else f"{service}_listen = 127.0.0.1:{port}\n")
        self.pando("router", "add", name, "--site", site, "--control", f"127.0.0.1:{self.router_control(site)}",
                   "--queue", f"127.0.0.1:{self.router_queue(site)}")

    def create(self, sites, nodes):
        self.sites, self.nodes = sites, nodes
        os.makedirs(self.tls, mode=0o700)
        self.save()
        url = self.postgres_init()
        run(PANDO, "--config", self.conf, "init", "--postgres", url, "--domain", DOMAIN, "--site", "demo",
            "--node", "operator", "--hostname", f"mail.{DOMAIN}", "--data-dir", self.folder)
        os.chmod(self.conf, 0o600)
        for site in sites:
            self.pando("site", "add", site)
            for i in range(1, nodes + 1):
                self.write_node(site, i, url)
            self.write_router(site, url)
        for i in range(1, nodes + 1):
            replicas = [word for site in sites[1:] for word in ("--replica", self.node_name(site, i))]
            for k in range(1, VOLUMES_PER_NODE + 1):
                self.pando("volume", "add", f"a{i}-{k}", "--node", self.node_name("site-a", i), *replicas)
        names = "".join(f"u{i:04d}@{DOMAIN}\n" for i in range(1, MAILBOXES + 1))
        self.pando("mailbox", "import", "-", "--password", PASSWORD, input=names)

    # Running it --------------------------------------------------------------------------------

    def start(self, site=None):
        for daemon in self.daemons(site):
            daemon.start()

    def stop(self, number=signal.SIGTERM, site=None):
        for daemon in self.daemons(site):
            daemon.send(number)
        for daemon in self.daemons(site):
            daemon.stop(number)

    def status(self):
        done = subprocess.run([PANDO, "--config", self.conf, "status", "--json"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        if not done.stdout:
            raise Failure(done.stderr.strip())
        return json.loads(done.stdout)

    def lag(self):
        done = subprocess.run([PANDO, "--config", self.conf, "lag", "--json"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        return json.loads(done.stdout) if done.stdout else []

    def in_step(self):
        """Every volume served, every replica connected and without lag."""
        volumes, rows = self.status()["volumes"], self.lag()
        wanted = len(volumes) * (len(self.sites) - 1)
        return (all(v["state"] == "primary" for v in volumes) and len(rows) == wanted and
                all(r["connected"] and r["lag_bytes"] == 0 for r in rows))

    def check_alive(self, site=None):
        for daemon in self.daemons(site):
            if not daemon.pid():
                tail = open(daemon.log, errors="replace").read()[-2000:] if os.path.exists(daemon.log) else ""
                raise Failure(f"{daemon.name} has ended; the end of {daemon.log}:\n{tail}")

    def wait_doors(self, site=None, seconds=30):
        def doors():
            for name in self.sites:
                if site and name != site:
                    continue
                with socket.create_connection(("127.0.0.1", self.port(name, "smtp")), 2) as door:
                    door.settimeout(2)
                    if not door.recv(200).startswith(b"220"):
                        raise Failure("SMTP does not greet")
                imaplib.IMAP4("127.0.0.1", self.port(name, "imap"), timeout=2).logout()
            return True
        time.sleep(0.1)
        self.check_alive(site)
        wait_for("front doors", seconds, doors)
        self.check_alive(site)

    def wait_serving(self, site=None, seconds=30):
        """Front doors open, and (all sites) every volume in step."""
        self.wait_doors(site, seconds)
        wait_for("replicas in step", seconds, self.in_step)
        self.check_alive(site)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


def check_ports(cluster, sites, nodes=1):
    doors = [cluster.port(site, service) for site in sites for service in FRONT]
    places = [("127.0.0.1", port) for port in doors] + [("127.0.0.1", cluster.postgres_port())]
    if has_ipv6():
        places += [("::1", port) for port in doors]
    for site in sites:
        inside = [cluster.port(site, "http"), cluster.router_control(site), cluster.router_queue(site)]
        for i in range(1, nodes + 1):
            inside += cluster.node_ports(site, i).values()
        places += [("127.0.0.1", port) for port in inside]
    for host, port in places:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                raise Failure(f"port {port} is in use: another demo? `deploy/demo down --dir ITS-DIR` ends it, "
                              "and --offset moves this one aside") from None


def up(options):
    cluster = Cluster(options.dir, options.offset)
    if cluster.exists():
        down(options)
        cluster = Cluster(options.dir, options.offset)
    elif os.path.isdir(cluster.folder) and os.listdir(cluster.folder):
        raise Failure(f"{cluster.folder} holds something that is not a demo: name another folder with --dir")
    for kind, program in [*PROGRAMS.items(), ("pando", PANDO)]:
        if not os.path.exists(program):
            raise Failure(f"{program} has not been built")
    sites = list(SITE_BASE)[:options.sites]
    check_ports(cluster, sites, options.nodes)
    cluster.offset = options.offset
    os.makedirs(cluster.folder, exist_ok=True)
    say(f"== making a cluster of {len(sites)} sites, {options.nodes} nodes each, in {cluster.folder}")
    cluster.create(sites, options.nodes)
    cluster.start()
    cluster.wait_serving()
    say(f"   serves {DOMAIN}: {MAILBOXES} mailboxes at site-a, replicas at {', '.join(sites[1:])}")
    return cluster


def down(options):
    cluster = Cluster(options.dir)
    if not cluster.exists():
        say(f"there is no demo in {cluster.folder}")
        return
    cluster.stop()
    cluster.postgres_stop("immediate")
    if cluster.postgres_folder and not cluster.postgres_folder.startswith(cluster.folder):
        shutil.rmtree(cluster.postgres_folder, ignore_errors=True)
    shutil.rmtree(cluster.folder)


def print_endpoints(cluster):
    say()
    say(f"PANDO_CONF={cluster.conf}")
    for site in cluster.sites:
        ports = "  ".join(f"{service} {cluster.port(site, service)}"
                          for service in ("smtp", "submission", "submissions", "imap", "imaps"))
        say(f"{site}: 127.0.0.1  {ports}  http {cluster.port(site, 'http')}")
    say(f"mailboxes: u0001@{DOMAIN} ... u{MAILBOXES:04d}@{DOMAIN}, password {PASSWORD}")
    say(f"pando: {PANDO}   (export PANDO_CONF={cluster.conf})")
    say(f"end it: deploy/demo down --dir {cluster.folder}")


# The story ---------------------------------------------------------------------------------------

OWN_MESSAGES = [
    ("A letter", "The aspen grove looks like a forest and is one organism.\r\n"),
    ("Zwei Standorte", "Gr\u00fc\u00dfe aus Site B: eine Wurzel, viele St\u00e4mme.\r\n"),
    ("A dot", ".\r\n..\r\n.leading dots survive\r\n"),
]


def load_messages(corpus):
    if corpus:
        files = sorted(glob.glob(os.path.join(corpus, "*.eml")))[:40]
        if not files:
            raise Failure(f"{corpus} holds no .eml file")
        # Mail on disk has the line ends of its system, mail on the wire has CRLF.
        return [re.sub(rb"\r?\n|\r", b"\r\n", open(name, "rb").read()) for name in files]
    made = []
    for i in range(20):
        subject, body = OWN_MESSAGES[i % len(OWN_MESSAGES)]
        made.append((f"From: Forest <forest@example.net>\r\nTo: someone@{DOMAIN}\r\nSubject: {subject} {i + 1}\r\n"
                     f"Message-ID: <demo-{i}@example.net>\r\nMIME-Version: 1.0\r\n"
                     f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{body}"
                     ).encode())
    return made


def deliver(cluster, site, messages, first_user=1):
    """Round robin over ten mailboxes; returns the milliseconds that each took."""
    times = []
    with smtplib.SMTP("127.0.0.1", cluster.port(site, "smtp"), "client.example.net", timeout=30) as smtp:
        for i, message in enumerate(messages):
            to = f"u{first_user + i % 10:04d}@{DOMAIN}"
            start = time.monotonic()
            smtp.sendmail("sender@example.net", [to], message)
            times.append((time.monotonic() - start) * 1000)
    return sorted(times)


def read_mail(cluster, site, users, tls=False):
    """{user: {uid: digest of the whole message}} and each INBOX's UIDVALIDITY, over IMAP."""
    mail, validity = {}, {}
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for i in users:
        user = f"u{i:04d}@{DOMAIN}"
        if tls:
            imap = imaplib.IMAP4_SSL("127.0.0.1", cluster.port(site, "imaps"), ssl_context=context, timeout=30)
        else:
            imap = imaplib.IMAP4("127.0.0.1", cluster.port(site, "imap"), timeout=30)
        imap.login(user, PASSWORD)
        imap.select("INBOX", readonly=True)
        validity[user] = imap.response("UIDVALIDITY")[1][0]
        _, found = imap.uid("SEARCH", None, "ALL")
        mail[user] = {}
        if found[0]:
            _, data = imap.uid("FETCH", b",".join(found[0].split()), "(UID BODY.PEEK[])")
            for item in data:
                if isinstance(item, tuple):
                    uid = int(item[0].split(b"UID ")[1].split()[0])
                    mail[user][uid] = hashlib.sha256(item[1]).hexdigest()
        imap.logout()
    return mail, validity


def count(mail):
    return sum(len(messages) for messages in mail.values())


def story(options):
    messages = load_messages(options.corpus)
    cluster = up(options)
    users = range(1, 11)

    say(f"== delivering {len(messages)} messages at site-b's router (port {cluster.port('site-b', 'smtp')}) "
        "to mailboxes whose home is site-a")
    times = deliver(cluster, "site-b", messages)
    say(f"   every 250 means: on disk at home and at the second site; median {times[len(times) // 2]:.1f} ms, "
        f"slowest {times[-1]:.1f} ms")
    before, validity = read_mail(cluster, "site-a", users)
    if count(before) != len(messages):
        raise Failure(f"site-a shows {count(before)} of {len(messages)} messages")
    say(f"   site-a's IMAP shows {count(before)} messages; u0001 has UIDs {sorted(before['u0001@' + DOMAIN])}")
    through_b, _ = read_mail(cluster, "site-b", users, tls=True)
    if through_b != before:
        raise Failure("site-b's IMAP shows something else")
    say("   site-b's IMAP (TLS) shows the same, byte for byte")
    say("== lag")
    say(cluster.pando("lag").rstrip())

    say("== killing site-a: SIGKILL to all of its processes")
    cluster.stop(signal.SIGKILL, "site-a")
    say("== pando failover site-a --to site-b")
    start = time.monotonic()
    say(cluster.pando("failover", "site-a", "--to", "site-b").rstrip())
    say(f"   the command took {time.monotonic() - start:.2f} s")
    after, validity_after = read_mail(cluster, "site-b", users)
    if after != before or validity_after != validity:
        raise Failure("site-b does not show the same mail under the same UIDs")
    say(f"   site-b serves the same {count(after)} messages under the same UIDs, UIDVALIDITY unchanged")
    more = messages[:10]
    times = deliver(cluster, "site-b", more)
    say(f"   {len(more)} more messages accepted while site-a is away (at risk until it is back): "
        f"median {times[len(times) // 2]:.1f} ms")

    say("== starting site-a again: it finds the higher epoch and follows")
    start = time.monotonic()
    cluster.start("site-a")
    cluster.wait_serving()
    say(f"   in step after {time.monotonic() - start:.1f} s")
    say(cluster.pando("lag").rstrip())
    now_a, validity_a = read_mail(cluster, "site-a", users)
    now_b, _ = read_mail(cluster, "site-b", users)
    if now_a != now_b or validity_a != validity or count(now_a) != len(messages) + len(more):
        raise Failure("the two sites do not show the same mail")
    for user, uids in before.items():
        if any(now_a[user].get(uid) != digest for uid, digest in uids.items()):
            raise Failure(f"{user} does not have its mail under its old UIDs")
    say(f"   both doors show the same {count(now_a)} messages; every old one under its old UID")
    say(cluster.pando("at-risk").rstrip())

    say("== replacing the disk of node-b1, which serves: its volumes are gone")
    replace_disk(cluster, "node-b1")
    start = time.monotonic()
    cluster.start("site-b")
    cluster.wait_serving()
    healed, validity_healed = read_mail(cluster, "site-b", users)
    if healed != now_b or validity_healed != validity:
        raise Failure("node-b1 does not show the same mail under the same UIDs")
    say(f"   it asked site-a before it wrote, fetched what it lacked, and serves the same {count(healed)} messages "
        f"after {time.monotonic() - start:.1f} s, without a command")
    deliver(cluster, "site-a", more)
    again, _ = read_mail(cluster, "site-b", users)
    if any(not uids.items() <= again[user].items() for user, uids in healed.items()) or \
            count(again) != count(healed) + len(more):
        raise Failure("what came afterwards is not under new UIDs")
    say(f"   {len(more)} more messages came in under UIDs that were never given before")

    come_home(cluster, users, more, again)
    print_endpoints(cluster)


def come_home(cluster, users, more, before):
    say("== cutting site-b off while people still reach it: site-a hears nothing of what it accepts")
    replicators = [daemon for daemon in cluster.daemons("site-a") if daemon.kind == "replicator"]
    for daemon in replicators:
        daemon.stop(signal.SIGKILL)
    deliver(cluster, "site-b", more)
    cluster.stop(signal.SIGKILL, "site-b")
    for daemon in replicators:
        daemon.start()
    say("== pando failover site-b --to site-a --accept-loss")
    say(cluster.pando("failover", "site-b", "--to", "site-a", "--accept-loss").rstrip())
    without, _ = read_mail(cluster, "site-a", users)
    say(f"   site-a serves {count(without)} messages, without the {len(more)} that only site-b has")
    say("== starting site-b again: what it still held comes home")
    start = time.monotonic()
    cluster.start("site-b")
    wait_for("the messages of site-b", 60,
             lambda: count(read_mail(cluster, "site-a", users)[0]) == count(before) + len(more))
    cluster.wait_serving()
    home, _ = read_mail(cluster, "site-b", users)
    if count(home) != count(before) + len(more) or \
            any(not uids.items() <= home[user].items() for user, uids in without.items()):
        raise Failure("what came home is not what was accepted")
    say(f"   all {count(home)} messages are there after {time.monotonic() - start:.1f} s, each once, without a command")
    say(cluster.pando("salvage", "list").rstrip())


def replace_disk(cluster, node):
    """The machine was off for it: what it remembered beside its disk is gone too."""
    daemons = [cluster.daemon(f"{node}/{kind}") for kind in ("node", "replicator")]
    for daemon in daemons:
        daemon.stop(signal.SIGKILL)
    for folder in ("data/volumes", "data/index", "run/node"):
        shutil.rmtree(os.path.join(daemons[0].machine, folder), ignore_errors=True)


def kill(options):
    cluster = Cluster(options.dir)
    need_site(cluster, options.site)
    cluster.stop(signal.SIGKILL, options.site)


def start_site(options):
    cluster = Cluster(options.dir)
    need_site(cluster, options.site)
    cluster.start(options.site)
    cluster.wait_doors(options.site)


def need_site(cluster, site):
    if not cluster.exists():
        raise Failure(f"there is no demo in {cluster.folder}: `deploy/demo up` makes one")
    if site not in cluster.sites:
        raise Failure(f"there is no {site}: {', '.join(cluster.sites)}")


def show_status(options):
    cluster = Cluster(options.dir)
    if not cluster.exists():
        raise Failure(f"there is no demo in {cluster.folder}: `deploy/demo up` makes one")
    for daemon in cluster.daemons():
        pid = daemon.pid()
        say(f"{daemon.site}  {daemon.name:24}  {'pid ' + str(pid) if pid else 'down'}")
    say()
    done = subprocess.run([PANDO, "--config", cluster.conf, "status"], stdout=subprocess.PIPE, text=True)
    say(done.stdout.rstrip())
    print_endpoints(cluster)


def main():
    parser = argparse.ArgumentParser(prog="demo", description=__doc__.splitlines()[0])
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--dir", default=os.environ.get("PANDO_DEMO_DIR", "/var/tmp/pando-demo"),
                        help="where the cluster lives (%(default)s)")
    making = argparse.ArgumentParser(add_help=False)
    making.add_argument("--nodes", type=int, default=2, help="nodes per site (%(default)s)")
    making.add_argument("--sites", type=int, default=2, choices=(2, 3), help=argparse.SUPPRESS)
    making.add_argument("--offset", type=int, default=0, help="added to every port")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    telling = verbs.add_parser("story", parents=[common, making], help="the whole story; without a verb too")
    telling.add_argument("--corpus", help="a folder of .eml files to deliver")
    verbs.add_parser("up", parents=[common, making], help="an empty cluster; returns when it serves")
    verbs.add_parser("down", parents=[common], help="stop everything and remove the folder")
    verbs.add_parser("status", parents=[common], help="what runs")
    for verb in ("kill", "start"):
        verbs.add_parser(verb, parents=[common], help=f"{verb} all processes of a site").add_argument("site")
    arguments = sys.argv[1:]
    if not arguments or arguments[0].startswith("--") and arguments[0] != "--help":
        arguments.insert(0, "story")
    options = parser.parse_args(arguments)
    if not 1 <= getattr(options, "nodes", 1) <= 20:
        parser.error("--nodes: 1 to 20")
    if not 0 <= getattr(options, "offset", 0) <= OFFSET_MAX:
        parser.error(f"--offset: 0 to {OFFSET_MAX}")
    try:
        if options.verb == "story":
            story(options)
        elif options.verb == "up":
            print_endpoints(up(options))
        else:
            {"down": down, "status": show_status, "kill": kill, "start": start_site}[options.verb](options)
    except Failure as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"demo: interrupted; `deploy/demo down --dir {options.dir}` removes what has been made", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our words has heard enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
