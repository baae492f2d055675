"""What the programs of this folder share: clusters, loads, processes' cost, the machine, results."""

import argparse
import imaplib
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(TOP, "deploy"))
import demo  # noqa: E402

DOMAIN, PASSWORD = demo.DOMAIN, demo.PASSWORD
Failure, wait_for, say = demo.Failure, demo.wait_for, demo.say
SMTP_LOAD = os.path.join(demo.BUILD, "bench", "smtp_load")
IMAP_IDLE = os.path.join(demo.BUILD, "bench", "imap_idle")
TICKS = os.sysconf("SC_CLK_TCK")


def user(number):
    return f"u{number:04d}@{DOMAIN}"


def free_offset(first=10000):
    """Beside demos and tests that may run; below the ports of outgoing connections."""
    for offset in range(first, 26001, 2000):
        try:
            demo.check_ports(demo.Cluster("/nonexistent", offset), list(demo.SITE_BASE))
            return offset
        except Failure:
            pass
    raise Failure("no free range of ports")


class Cluster(demo.Cluster):
    """One node per site; as many mailboxes and volumes as asked for. A context: gone at its end."""

    def __init__(self, folder, sites, mailboxes, durability, volumes):
        super().__init__(folder, free_offset())
        self.wanted_sites = list(demo.SITE_BASE)[:sites]
        self.mailboxes, self.durability, self.volumes = mailboxes, durability, volumes

    def create(self, sites, nodes):
        self.sites, self.nodes = sites, nodes
        os.makedirs(self.tls, mode=0o700)
        self.save()
        url = self.postgres_init()
        demo.run(demo.PANDO, "--config", self.conf, "init", "--postgres", url, "--domain", DOMAIN, "--site", "bench",
                 "--node", "operator", "--hostname", f"mail.{DOMAIN}", "--data-dir", self.folder)
        os.chmod(self.conf, 0o600)
        for site in sites:
            self.pando("site", "add", site)
            self.write_node(site, 1, url)
            self.write_router(site, url)
        replicas = [word for site in sites[1:] for word in ("--replica", self.node_name(site, 1))]
        for k in range(1, self.volumes + 1):
            self.pando("volume", "add", f"v{k}", "--node", self.node_name("site-a", 1), *replicas,
                       "--durability", self.durability)
        names = "".join(f"{user(i)}\n" for i in range(1, self.mailboxes + 1))
        self.pando("mailbox", "import", "-", "--password", PASSWORD, input=names)

    def __enter__(self):
        os.makedirs(self.folder, exist_ok=True)
        try:
            self.create(self.wanted_sites, 1)
            self.start()
            self.wait_serving(seconds=60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # Kept with PANDO_BENCH_KEEP=1: logs and volumes for whoever looks into a figure.
        self.stop()
        self.postgres_stop("immediate")
        if not os.environ.get("PANDO_BENCH_KEEP"):
            for folder in (self.postgres_folder, self.folder):
                if folder and os.path.isdir(folder):
                    demo.shutil.rmtree(folder)

    def named(self, kind, site="site-a"):
        return next(d for d in self.daemons(site) if d.kind == kind)

    def home_messages(self):
        """As the homes' nodes show them."""
        return sum(int(volume["messages"] or 0) for volume in self.status()["volumes"])

    def imap(self, number, site="site-a"):
        imap = imaplib.IMAP4("127.0.0.1", self.port(site, "imap"), timeout=30)
        imap.login(user(number), PASSWORD)
        return imap

    def imap_messages(self, number, site="site-a"):
        imap = self.imap(number, site)
        try:
            status, answer = imap.select("INBOX", readonly=True)
            if status != "OK":
                raise Failure(f"SELECT: {answer}")
            return int(answer[0])
        finally:
            imap.logout()

    def metrics(self, kind, site="site-a"):
        port = {"node": self.node_ports(site, 1)["node_http"],
                "replicator": self.node_ports(site, 1)["replicator_http"],
                "router": self.port(site, "http")}[kind]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return answer.read().decode()


def folder_for(name):
    return tempfile.mkdtemp(prefix=f"pando-bench-{name}-", dir=os.environ.get("PANDO_BENCH_DIR", "/var/tmp"))


# Loads -------------------------------------------------------------------------------------------

def smtp_load(port, messages, mailboxes, length=4096, sessions=20, pipelining=True, timeout=600):
    """What the generator reports; its command line is in the result's "command"."""
    command = [SMTP_LOAD, "--sessions", str(sessions), "--messages", str(messages), "--length", str(length),
               "--mailboxes", str(mailboxes), *([] if pipelining else ["--no-pipelining"]), f"127.0.0.1:{port}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)}: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    result["command"] = " ".join(["smtp_load", *command[1:-1]])
    return result


def disk_limit(folder, megabytes):
    """What the disk itself takes in synced 1 MiB writes: the copy can't be faster."""
    name = f"{folder}/limit"
    done = demo.run("/usr/bin/dd", "if=/dev/zero", f"of={name}", "bs=1M", f"count={megabytes}", "oflag=dsync")
    os.unlink(name)
    found = re.search(r"copied, ([\d.]+) s", done)
    return megabytes * 1.048576 / float(found.group(1))


def spread(cluster):
    """A mailbox of every volume."""
    found = {}
    for line in json.loads(cluster.pando("mailbox", "list", "--json")):
        found.setdefault(line["volume"], int(line["address"][1:].split("@")[0]))
    if len(found) != cluster.volumes:
        raise Failure(f"{len(found)} of {cluster.volumes} volumes have a mailbox")
    return sorted(found.values())


def wait_shown(cluster, site, wanted, seconds):
    """Until every mailbox of {number: messages} is shown; returns the moment."""
    left, end = dict(wanted), time.monotonic() + seconds
    while left:
        for number, messages in list(left.items()):
            try:
                shown = cluster.imap_messages(number, site)
            except (OSError, Failure, imaplib.IMAP4.error) as error:
                reason = error
                break
            if shown != messages:
                raise Failure(f"mailbox {number} shows {shown} messages, not {messages}")
            del left[number]
        else:
            continue
        if time.monotonic() > end:
            cluster.check_alive(site)
            raise Failure(f"mailbox {number} is not served after {seconds} s: {reason}")
        time.sleep(0.005)
    return time.monotonic()


# What processes cost -----------------------------------------------------------------------------

def cpu_seconds(pid):
    """(user, system), of its ended children too."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    times = [int(field) / TICKS for field in fields[11:15]]
    return times[0] + times[2], times[1] + times[3]


def pss_kib(pid):
    """Its share of memory: what it has alone, and shared pages divided by their users."""
    found = re.search(r"^Pss:\s+(\d+) kB", open(f"/proc/{pid}/smaps_rollup").read(), re.M)
    return int(found.group(1)) if found else 0


def descendants(pid):
    found = [pid]
    for parent in found:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                found += [int(child) for child in open(f"/proc/{parent}/task/{task}/children").read().split()]
        except OSError:
            pass
    return found


class CpuMeter:
    """CPU seconds of named processes between two moments."""

    def __init__(self, pids):
        self.pids = pids
        self.before = {name: cpu_seconds(pid) for name, pid in pids.items()}

    def used(self):
        result = {}
        for name, pid in self.pids.items():
            now = cpu_seconds(pid)
            result[name] = [round(now[i] - self.before[name][i], 2) for i in (0, 1)]
        return result


def system_cpu():
    """(busy, all) seconds of all processors since start."""
    fields = [int(field) / TICKS for field in open("/proc/stat").readline().split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)


# Histograms --------------------------------------------------------------------------------------

def histogram(text, name):
    """[(upper bound in seconds, cumulative count)], summed over labels."""
    sums = {}
    for line in text.splitlines():
        found = re.match(rf'{name}_bucket{{(.*)}} (\d+)', line)
        if found:
            bound = re.search(r'le="([^"]+)"', found.group(1)).group(1)
            bound = float("inf") if bound == "+Inf" else float(bound)
            sums[bound] = sums.get(bound, 0) + int(found.group(2))
    return sorted(sums.items())


def percentile(before, after, share):
    """Upper bound of the bucket that holds the percentile of what came between two snapshots, and
    whether any came."""
    old = dict(before)
    grown = [(bound, count - old.get(bound, 0)) for bound, count in after]
    total = grown[-1][1] if grown else 0
    for bound, count in grown:
        if total and count >= total * share:
            return bound
    return None


# The machine and results -------------------------------------------------------------------------

def machine():
    model = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    memory = int(re.search(r"MemTotal:\s+(\d+)", open("/proc/meminfo").read()).group(1))
    disk = subprocess.run(["df", "--output=fstype,source", "/var/tmp"], stdout=subprocess.PIPE, text=True)
    load = os.getloadavg()
    return {"processor": f"{os.cpu_count()} x {model.group(1) if model else platform.machine()}",
            "memory": f"{memory / 1048576:.0f} GiB", "kernel": platform.release(),
            "disk": " ".join(disk.stdout.split("\n")[1].split()), "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "load_before": f"{load[0]:.2f}", "commit": commit()}


def commit():
    done = subprocess.run(["git", "-C", TOP, "rev-parse", "--short=10", "HEAD"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip() or "unknown"


def package_version(name):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip()


def row(claim, figure, goal, reached, beside=""):
    """One line of the result table; `reached` None where nothing was asked."""
    return {"claim": claim, "figure": figure, "goal": goal, "reached": reached, "beside": beside}


def print_rows(rows):
    for line in rows:
        verdict = {True: "reached", False: "NOT REACHED", None: ""}[line["reached"]]
        say(f"   {line['claim']}: {line['figure']}" + (f"; goal {line['goal']} {verdict}" if line["goal"] else "") +
            (f"  ({line['beside']})" if line["beside"] else ""))


def main(description, measure, add_options=lambda parser: None):
    """Runs measure(options) -> {"rows": [...], "details": {...}}; --json writes it to a file."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a small run: shows that it works, not a figure")
    parser.add_argument("--json", metavar="FILE", help="write the results there")
    add_options(parser)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.environ.setdefault("PANDO_BUILD", demo.BUILD)
    try:
        for program in (demo.PANDO, SMTP_LOAD, IMAP_IDLE):
            if not os.path.exists(program):
                raise Failure(f"{program} has not been built: bench/setup")
        about = machine()
        say(f"== {os.path.basename(sys.argv[0])} on {about['processor']}, {about['disk']}, kernel {about['kernel']}, "
            f"{about['date']}, commit {about['commit']}, load {about['load_before']}")
        results = measure(options)
    except Failure as failure:
        print(f"{os.path.basename(sys.argv[0])}: {failure}", file=sys.stderr)
        return 1
    results["machine"] = about
    print_rows(results["rows"])
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=1)
    return 0
