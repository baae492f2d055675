#!/usr/bin/python3
"""The house rules that a program can check: one line per breach, each rule counts as one test."""

import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COLUMNS_MAX = 100
# What tests may do and daemons may not; the rest of BANNED holds in tests and benchmarks too.
BANNED_EVERYWHERE = {"strcpy", "strcat", "sprintf", "vsprintf", "gets", "strtok", "atoi", "atol"}
FILE_LINES_MAX = 800
# What a folder may include besides itself; core/ never looks up.
ALLOWED = {
    "core": {"core"},
    "proto": {"proto", "core"},
    "spool": {"spool", "proto", "core"},
    "node": {"node", "spool", "proto", "core"},
    "router": {"router", "spool", "proto", "core"},
    "replicator": {"replicator", "spool", "proto", "core"},
    "ctl": {"ctl", "proto", "core"},
}
# A backup is unpacked by the log engine, and read as a node reads it.
ALLOWED_TOO = {"ctl/backup/": ("spool/", "node/index/")}
# Unbounded copies, hidden state, and what goes past the seams (clock, rand, memory).
BANNED = {
    "strcpy": "use snprintf or a buf", "strcat": "use a buf", "sprintf": "use snprintf",
    "vsprintf": "use vsnprintf", "gets": "use fgets", "strtok": "use str_next", "atoi": "use str_to_u64",
    "atol": "use str_to_u64", "malloc": "use mem_alloc", "calloc": "use mem_alloc", "realloc": "use mem_resize",
    "strdup": "use str_to_heap", "alloca": "use a pool", "rand": "use core/rand.h", "random": "use core/rand.h",
    "time": "use core/clock.h", "gettimeofday": "use core/clock.h", "sleep": "use core/timer.h",
    "system": "run nothing from a daemon", "popen": "run nothing from a daemon",
}
# The implementations behind the seams may call what they wrap.
BANNED_EXCEPT = {
    "core/check.c": {"calloc", "malloc", "realloc"}, "core/bytes.c": {"malloc"}, "core/pool.c": {"malloc"},
}
THIRD_PARTY = ("uv.h", "liburing.h", "openssl/", "libpq-fe.h", "ares.h", "sqlite3.h", "microhttpd.h", "unicode/",
               "zstd.h", "protobuf-c/")
# Who may use a library: core/ wraps what reaches the world, proto/ what only computes.
LIBRARY_USERS = {"core": THIRD_PARTY, "proto": ("unicode/", "protobuf-c/")}
LIBRARY_HEADERS = {"proto/packed.h"}


def tracked():
    """What git knows of; without git, everything but what building and running left (.gitignore)."""
    try:
        listed = subprocess.run(["git", "-C", TOP, "ls-files"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                text=True).stdout.split("\n")
    except FileNotFoundError:
        listed = []
    if not any(listed):
        listed = [os.path.relpath(os.path.join(folder, name), TOP)
                  for folder, _, names in os.walk(TOP) for name in names
                  if not os.path.relpath(folder, TOP).startswith(("build", "demo-data", ".git")) and
                  not name.endswith((".pyc", ".o"))]
    return [name for name in listed if name and os.path.isfile(os.path.join(TOP, name))]


def without_comments_and_text(source):
    """Same line numbers, but comments, strings and characters emptied."""
    pattern = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    return pattern.sub(lambda found: '""' + "\n" * found.group().count("\n"), source)


def width(line):
    return len(line.expandtabs(8))


def check_layout(name, lines):
    if len(lines) > FILE_LINES_MAX:
        yield 1, f"{len(lines)} lines, more than {FILE_LINES_MAX}"
    for number, line in enumerate(lines, 1):
        if line.rstrip() != line:
            yield number, "white space at the end"
        if name.endswith((".c", ".h")) and width(line) > COLUMNS_MAX:
            yield number, f"{width(line)} columns, more than {COLUMNS_MAX}"
        if name.endswith((".c", ".h")) and re.match(r" (?! ?\*)", line):
            yield number, "indented by spaces"
        # The word is put together so that this line is no breach itself.
        if re.search(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b", line):
            yield number, "unfinished work belongs in the tracker"


def check_banned(name, code):
    excused = BANNED_EXCEPT.get(name, set())
    if name.split("/")[0] not in ALLOWED:
        excused = set(BANNED) - BANNED_EVERYWHERE
    for number, line in enumerate(code.split("\n"), 1):
        for word in re.findall(r"(?<![\w.>])(\w+)\s*\(", line):
            if word in BANNED and word not in excused:
                yield number, f"{word}() is not for this house: {BANNED[word]}"


def check_includes(name, source):
    folder = name.split("/")[0]
    for number, line in enumerate(source.split("\n"), 1):
        found = re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line)
        if not found:
            continue
        quote, target = found.groups()
        other = target.split("/")[0]
        too = ALLOWED_TOO.get(os.path.dirname(name) + "/", ())
        if quote == '"' and other in ALLOWED and other not in ALLOWED[folder] and not target.startswith(too):
            yield number, f"{folder}/ must not know {other}/"
        if quote == "<" and target.startswith(THIRD_PARTY):
            if name.endswith(".h") and name not in LIBRARY_HEADERS:
                yield number, f"third-party header {target} in a header"
            elif not target.startswith(LIBRARY_USERS.get(folder, ("/",))):
                yield number, f"{folder}/ must not use {target} itself"


def check_events(source):
    """Log lines are searched by their event's name."""
    for found in re.finditer(r'\blog_(?:debug|info|warn|error)\(\s*"([^"]*)"', source):
        if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", found.group(1)):
            yield source.count("\n", 0, found.start()) + 1, f"the event `{found.group(1)}` is not snake_case"


def check_readmes(names):
    """Every folder with code says what it is for."""
    for folder in sorted({os.path.dirname(name) for name in names if name.endswith((".c", ".py"))}):
        if f"{folder}/README.md" not in names:
            yield folder, "has no README.md"


def check_guard(name, source):
    """PANDO_<top folder>_..._<file>_H; folders in between may be left out."""
    top, base = name.split("/")[0].upper(), os.path.basename(name)[:-2].upper()
    found = re.search(r"^#ifndef (\w+)\n#define (\w+)\n", source, re.M)
    wanted = rf"PANDO_{top}_(\w+_)?{base}_H" + (f"|PANDO_{base}_H" if top == base else "")
    if not found or found.group(1) != found.group(2) or not re.fullmatch(wanted, found.group(1)):
        yield 1, f"include guard should be PANDO_{top}_..._{base}_H"


def known_commands():
    with open(os.path.join(TOP, "ctl/main.c"), encoding="utf-8") as file:
        return set(re.findall(r'^\t\{ "([a-z-]+(?: [a-z-]+)?)",', file.read(), re.M))


def check_commands(source, known):
    """What is said in backticks, in sentences for operators and in documents, can be typed."""
    groups = {name.split(" ")[0] for name in known if " " in name}
    joined = re.sub(r'"\s*\n\s*"', "", source)
    for found in re.finditer(r"`pando ([a-z][a-z-]*)(?: ([a-z-]+))?", joined):
        first, second = found.groups()
        if first in known or (first in groups and (second is None or f"{first} {second}" in known)):
            continue
        yield joined.count("\n", 0, found.start()) + 1, f"there is no command {found.group()}`"


def check_end(source):
    if source and not source.endswith("\n"):
        yield source.count("\n") + 1, "no newline at the end"


def check_file(name):
    """{rule: [(line, text)]}"""
    with open(os.path.join(TOP, name), encoding="utf-8", errors="replace") as file:
        source = file.read()
    found = {}
    if not name.startswith("docs/") and not name.endswith((".md", ".eml", ".txt", ".sql")):
        found["layout"] = list(check_layout(name, source.split("\n")))
    if name.endswith((".c", ".h")):
        found["last line"] = list(check_end(source))
        found["banned functions"] = list(check_banned(name, without_comments_and_text(source)))
        if name.split("/")[0] in ALLOWED:
            found["includes"] = list(check_includes(name, source))
            found["event names"] = list(check_events(source))
            if name.endswith(".h"):
                found["include guards"] = list(check_guard(name, source))
    return found


def main():
    broken = {"READMEs": 0}
    names = tracked()
    for folder, text in check_readmes(set(names)):
        broken["READMEs"] += 1
        print(f"{folder}: {text}")
    for name in names:
        if not name.endswith((".c", ".h", ".py", ".sh", ".build", ".proto")) and "/" not in name:
            continue
        for rule, breaches in check_file(name).items():
            broken[rule] = broken.get(rule, 0) + len(breaches)
            for number, text in breaches:
                print(f"{name}:{number}: {text}")
    known, broken["commands"] = known_commands(), 0
    for name in names:
        if not name.endswith((".c", ".h", ".md")):
            continue
        with open(os.path.join(TOP, name), encoding="utf-8", errors="replace") as file:
            for number, text in check_commands(file.read(), known):
                broken["commands"] += 1
                print(f"{name}:{number}: {text}")
    failed = sum(1 for breaches in broken.values() if breaches)
    print(f"{len(broken) - failed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
