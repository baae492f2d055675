#!/usr/bin/python3
"""Every benchmark, one after the other; their results stand in docs/benchmarks.md afterwards.

--quick runs small forms of all that show that they work, and writes no page."""

import argparse
import json
import os
import subprocess
import sys
import tempfile

from support import TOP, say

PROGRAMS = ("delivery", "replication", "heal", "reseed", "backup", "space", "scrub", "failover", "idle")
PAGE = os.path.join(TOP, "docs", "benchmarks.md")
ABOUT = {
    "delivery": """SMTP at a front door until every message stands in its mailbox: {length} bytes of text, {sessions} sessions that
send one message after the other, 1,000 mailboxes, both sides fed by the same generator (`bench/smtp_load.c`). Pando: one
router and one node, for `remote` also a second site whose replica has the message on disk before the sender reads 250.
Postfix delivers over LMTP to Dovecot, both with the defaults that make accepted mail safe and with limits that would only
throttle raised (`bench/peers.py` holds their configuration). Load, servers and, for `remote`, both sites share this machine.
Rounds alternate between the sides; ratios are taken within each round, and the median of the rounds counts.""",
    "replication": """Lag is `pando_replication_lag_seconds`: from durable at the home to acknowledged by the other site's replica, while
the delivery load runs. Catch-up: the replica's site is stopped, its leader takes 1 MiB messages, the site is started.""",
    "heal": """The disk of a primary is replaced: it starts without volumes, indexes and memory, fetches all from the other site's
copy, and serves in the same epoch. From the start of its processes until IMAP has shown the mail of a mailbox of every volume; TLS,
both sites and their disk share this machine.""",
    "reseed": """One volume of a node holds mail in messages of 1 MiB; `pando copy reseed VOLUME NODE --wait` throws its copy at the other
site away and fills it anew: the time until it counts. Meanwhile another volume of both nodes takes messages of 4 KiB, durability `remote`.""",
    "backup": """`pando backup --full` of a volume that holds mail in messages of 1 MiB, again and again, into memory, as a target is another disk
than the volumes'; then with messages of 4 KiB to another volume of the same nodes, durability `remote`, beside it; then, after one message more, the backup of what came since.
Two sites and the command (under `nice`, as docs/operating.md has it) share this machine. The large messages are random, as what was
compressed before.""",
    "space": """Deliveries of 100 MB to one mailbox and an EXPUNGE of all but the newest take turns, two sites, durability `remote`,
`free_after_s = 1`. The room is what the volume's segments take on the disk of a site when it has come back as far as it does; holes give
whole blocks of 4 KiB back, so that small messages leave more. The rate beside it is that of the same deliveries into a mailbox that keeps them.""",
    "scrub": """`pando scrub --now` over both copies of a volume of 64 KiB messages, with `scrub_mib_s_max` out of the way: nodes and disk share
this machine, and all is read from the disk. Deliveries alternate between rounds alone and rounds beside pass after pass; the median of the ratios
counts. A pass in the background stands back while mail comes in.""",
    "failover": """Failover: all processes of a site get SIGKILL, `pando failover site-a --to site-b` starts, and the time runs until
IMAP at the other site's router has shown the mail of a mailbox of every volume. Restart: from exec of `pando-node` until
the same through the router.""",
    "idle": """Sessions in IDLE on INBOX over TLS; growth of the processes' proportional set size per session. Dovecot: few login
processes for all sessions, one `imap` process each, not hibernated.""",
}


def table(rows):
    lines = ["| what | figure | goal | | measured beside it |", "|---|---|---|---|---|"]
    for line in rows:
        verdict = {True: "reached", False: "**missed**", None: ""}[line["reached"]]
        lines.append(f"| {line['claim']} | {line['figure']} | {line['goal']} | {verdict} | {line['beside']} |")
    return "\n".join(lines)


def rates(runs):
    return ", ".join(f"{run['rate']:.0f}" for run in runs)


def delivery_detail(details):
    parts = []
    for name, title in (("local", "Pando, `local`"), ("remote", "Pando, `remote`"), ("peer", "Postfix and Dovecot")):
        if details[name]:
            middle = sorted(details[name], key=lambda run: run["rate"])[len(details[name]) // 2]["load"]
            parts.append(f"| {title} | {rates(details[name])} | {middle['per_second']:.0f} | {middle['p50_ms']} | "
                         f"{middle['p99_ms']} |")
    return ("\n\n| runs | in mailboxes, messages/s | accepted, messages/s | p50 ms from MAIL to 250 | p99 ms |\n"
            "|---|---|---|---|---|\n" + "\n".join(parts) + f"\n\nLoad: `{details['command']}`.")


def page(results):
    about = next(iter(results.values()))["machine"]
    text = ["# Benchmarks", "",
            "Written by `bench/run`; every figure with what was measured beside it in the same run. The ratio is the claim, the",
            "figures depend on the machine.", "",
            f"Machine: {about['processor']}, {about['memory']}, {about['disk']}, Linux {about['kernel']}. "
            f"Started {about['date']} at commit {about['commit']}, load average before {about['load_before']}.", ""]
    if float(about["load_before"]) > 0.5:
        text += ["Other work shared the machine: absolute figures are lower than on an idle one.", ""]
    for name, result in results.items():
        words = result["details"].get("command", "").split()
        given = dict(zip(words, words[1:]))
        text += [f"## bench/{name}", "",
                 ABOUT[name].format(length=given.get("--length", "4096"), sessions=given.get("--sessions", "20")), "",
                 table(result["rows"]) + (delivery_detail(result["details"]) if name == "delivery" else ""), ""]
    return "\n".join(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--page", help="write it there instead")
    options = parser.parse_args()
    results, failed = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name in PROGRAMS:
            file = os.path.join(folder, name)
            command = [os.path.join(TOP, "bench", name), "--json", file, *(["--quick"] if options.quick else [])]
            if subprocess.run(command).returncode != 0:
                failed.append(name)
                continue
            results[name] = json.load(open(file))
    where = options.page or (None if options.quick or failed else PAGE)
    if where and results:
        with open(where, "w") as file:
            file.write(page(results))
        say(f"written to {where}")
    for name in failed:
        say(f"bench/{name} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
