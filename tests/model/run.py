#!/usr/bin/python3
"""Searches the model of the protocol with spin: all rules on, no promise may break; each rule off, one must.

Each row below is one search; docs/guarantees.md says what came of it. --long searches further, for about half an hour;
--match WORD only rows whose name holds the word; --trail prints, for a promise that broke, what happened, step by step."""

import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# A row of every run is done in seconds; more means that the model has grown.
ROW_SECONDS = 60
LONG_SECONDS = 600
# Of the 2 GiB that a small machine has: one of the long ones at a time; the others need a tenth of it.
MEMORY_MB = 1500
SEARCHES = 2
DISKS = "-DTAIL -DEMPTY -DBACK"

UNHEARD = "-DUNHEARD -DFAULTS=0 -DCOMMANDS=1 -DOPENINGS=5 -DGROUPS=7"

# (name, flags, what must break or None: nothing)
HOLDS = [
    ("all rules, any one fault, no command", f"-DKILL -DPOWER {DISKS} -DDIRECTORY"),
    ("all rules, a bogus epoch, no command", "-DBOGUS"),
    ("all rules, a bogus epoch, one command", "-DBOGUS -DCOMMANDS=1 -DMAILS=1 -DGROUPS=6"),
    ("all rules, one command, no fault", "-DCOMMANDS=1 -DFAULTS=0"),
    ("all rules, one command, a kill", "-DCOMMANDS=1 -DKILL -DMAILS=1 -DGROUPS=5 -DOPENINGS=3"),
    ("all rules, one command, a power cut", "-DCOMMANDS=1 -DPOWER -DMAILS=1 -DGROUPS=5 -DOPENINGS=3"),
    ("all rules, one command, a lost tail", "-DCOMMANDS=1 -DTAIL -DMAILS=1 -DGROUPS=5 -DOPENINGS=3"),
    ("all rules, one command, the directory put back", "-DCOMMANDS=1 -DDIRECTORY -DGROUPS=7"),
    ("all rules, one command, openings that one copy never heard of", UNHEARD),
]
LONG_HOLDS = [
    ("all rules, any two faults, no command", f"-DKILL -DPOWER {DISKS} -DDIRECTORY -DFAULTS=2"),
    ("all rules, one command, a restart", "-DCOMMANDS=1 -DKILL -DPOWER"),
    ("all rules, one command, a lost disk", f"-DCOMMANDS=1 {DISKS}"),
    ("all rules, two commands, no fault, one mail", "-DCOMMANDS=2 -DFAULTS=0 -DMAILS=1 -DGROUPS=5 -DOPENINGS=3"),
    ("all rules, two commands, no fault", "-DCOMMANDS=2 -DFAULTS=0"),
]
# The last is no rule: it is said in docs/protocol.md to stay impossible.
BREAKS = [
    ("proof", "LOST", "-DNO_PROOF -DTAIL"),
    ("proof, uids", "UID", "-DNO_PROOF -DTAIL -DONLY=1"),
    ("proof and incarnation", "DIFFER", "-DNO_INCARNATION -DNO_PROOF -DTAIL -DONLY=3"),
    ("a fence that ends the proof", "UID", "-DNO_ENDED -DCOMMANDS=1 -DKILL -DGROUPS=7 -DONLY=1"),
    ("half a slack", "UID", "-DNO_HALF -DTAIL"),
    ("least", "UID", f"-DNO_LEAST -DONLY=1 {UNHEARD}"),
    ("acknowledged openings", "UID", "-DNO_BARRIER -DONLY=1 -DPOWER -DBACK -DFAULTS=2 -DGROUPS=5 -DOPENINGS=3 -DROWS=1"),
    ("class", "WRITER", "-DNO_CLASS -DCOMMANDS=1 -DDIRECTORY"),
    ("token", "LOST", "-DNO_TOKEN -DCOMMANDS=1 -DKILL -DGROUPS=7"),
    ("last", "LOST", "-DNO_LAST -DCOMMANDS=1 -DKILL -DGROUPS=7"),
    ("confirm", "LOST", "-DNO_CONFIRM -DCOMMANDS=1 -DKILL -DGROUPS=7"),
    ("standing still unproven", "LOST", "-DNO_STILL -DCOMMANDS=1 -DPOWER -DMAILS=1 -DGROUPS=5 -DOPENINGS=3"),
    ("most", "LOST", "-DNO_MOST -DCOMMANDS=1 -DKILL -DMAILS=1 -DGROUPS=5 -DOPENINGS=3"),
    ("served", "LOST", "-DNO_SERVED -DCOMMANDS=1 -DTAIL -DMAILS=1 -DGROUPS=5 -DOPENINGS=3"),
    ("compare", "LOST", "-DNO_COMPARE -DCOMMANDS=1 -DFAULTS=0"),
    ("told", "UID", "-DNO_TOLD -DONLY=1 -DPOWER -DEMPTY -DBACK -DFAULTS=3 -DROWS=1 -DGROUPS=5 -DOPENINGS=3"),
    ("what is missing", "LOST", "-DNO_MISSING -DEMPTY"),
    ("heard", "LOST", "-DNO_HEARD -DTAIL"),
    ("all heard, to pass over an epoch", "LOST", "-DNO_ALL -DCOMMANDS=1 -DDIRECTORY -DGROUPS=7"),
    ("the memory lost, too", "UID", "-DMEMORY"),
]


def search(flags, seconds):
    """(promise that broke or None, whether the search was complete, states, trail)"""
    where = tempfile.mkdtemp(prefix="pando-model-")
    try:
        shutil.copy(os.path.join(HERE, "volume.pml"), where)
        words = flags.split()
        steps = [["spin", *words, "-a", "volume.pml"],
                 ["gcc", "-O1", "-w", "-DSAFETY", "-DNOREDUCE", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MB}", "-o", "pan", "pan.c"]]
        for step in steps:
            done = subprocess.run(step, cwd=where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode != 0:
                return "it does not build: " + done.stdout[-500:], False, 0, ""
        out = subprocess.run(["timeout", "-s", "INT", str(seconds), "./pan", "-m10000"], cwd=where, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True).stdout
        states = re.search(r"(\d+) states, stored", out)
        complete = "Search not completed" not in out and "max search depth too small" not in out
        if "errors: 0" in out:
            return None, complete, int(states.group(1)) if states else 0, ""
        story = subprocess.run(["spin", *words, "-t", "volume.pml"], cwd=where, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True).stdout
        line = re.search(r"volume.pml:(\d+), Error: assertion violated", story)
        with open(os.path.join(where, "volume.pml")) as source:
            text = source.read().splitlines()[int(line.group(1)) - 1] if line else ""
        promise = re.search(r"\b(LOST|UID|WRITER|DIFFER)\(", text)
        told = [s.strip() for s in story.splitlines() if s.startswith("      ")]
        return promise.group(1) if promise else "something else", True, int(states.group(1)) if states else 0, "\n".join(told)
    finally:
        shutil.rmtree(where)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="searches that take up to ten minutes each, too")
    parser.add_argument("--match", default="", metavar="WORD", help="rows whose name holds the word")
    parser.add_argument("--trail", action="store_true", help="how a promise broke")
    options = parser.parse_args()
    rows = [(name, None, flags) for name, flags in HOLDS + (LONG_HOLDS if options.long else [])]
    rows += [(f"without {name}", promise, flags) for name, promise, flags in BREAKS]
    rows = [row for row in rows if options.match in row[0]]
    passed = failed = 0

    def one(row):
        name, expected, flags = row
        start = time.monotonic()
        long = options.long and (name, flags) in LONG_HOLDS
        result = search(flags, LONG_SECONDS if long else ROW_SECONDS)
        return name, expected, long, time.monotonic() - start, *result
    pool = concurrent.futures.ThreadPoolExecutor(1 if options.long else SEARCHES)
    for name, expected, long, seconds, found, complete, states, trail in pool.map(one, rows):
        good = found == expected and (complete or long)
        passed, failed = passed + good, failed + (not good)
        what = f"{found} breaks" if found else "nothing breaks" + ("" if complete else ", cut off by time")
        wanted = "" if good else f"; expected: {expected + ' breaks' if expected else 'a complete search and nothing'}"
        print(f"{'ok  ' if good else 'FAIL'} {name}: {what}, {states} states, {seconds:.1f} s{wanted}", flush=True)
        if options.trail or not good:
            print("\n".join("     | " + line for line in trail.splitlines()), end="\n" if trail else "")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
