"""What Prometheus reads: metrics of real daemons, and the rules and the dashboard that name them."""

import json
import os
import re
import shutil
import signal
import subprocess

import demo
from world import user, wait_for

FOLDER = os.path.join(demo.TOP, "deploy", "monitoring")
# Of PromQL, what the rules and the dashboard use.
FUNCTIONS = {"sum", "max", "count", "rate", "delta", "time", "histogram_quantile"}
WORDS = {"by", "on", "and", "or", "unless", "without", "ignoring", "group_left", "group_right", "bool", "offset"}
# Given by Prometheus itself, to everything it scrapes.
GIVEN = {"instance", "job"}


def ports(c):
    for site in c.sites:
        yield f"router {site}", c.port(site, "http")
        for i in range(1, c.nodes + 1):
            yield f"node {site} {i}", c.node_ports(site, i)["node_http"]
            yield f"replicator {site} {i}", c.node_ports(site, i)["replicator_http"]


def samples(text):
    """[(name, {label: value}, number)]; the format is checked on the way."""
    found = []
    for line in text.split("\n"):
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r'([a-z_]+)(?:\{((?:[a-z]+="[^"\\\n]*",?)*)\})? (\S+)', line)
        assert match, line
        found.append((match[1], dict(re.findall(r'([a-z]+)="([^"]*)"', match[2] or "")), float(match[3])))
    return found


def scrape(c):
    return {who: samples(c.http(port, "/metrics")) for who, port in ports(c)}


def family(name):
    return re.sub(r"_(bucket|sum|count)$", "", name)


def value(c, who, name, **labels):
    port = dict(ports(c))[who]
    found = [number for n, l, number in samples(c.http(port, "/metrics")) if n == name and labels.items() <= l.items()]
    assert len(found) == 1, (who, name, labels, found)
    return found[0]


def test_metrics_follow_the_conventions_and_stand_in_the_table(c):
    c.send("site-a", user(1))
    c.imap("site-a").logout()
    printed = {}
    # What is measured now and then is there after the first time.
    measured = ("pando_volume_state", "pando_scrub_pass_age_seconds")
    wait_for("measures of volumes", 10, lambda: all(
        name in c.http(port, "/metrics") for name in measured for who, port in ports(c) if who.startswith("node")))
    for who, port in ports(c):
        text = c.http(port, "/metrics")
        types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
        helps = dict(re.findall(r"^# HELP (\S+) (\S.*)$", text, re.M))
        rows = samples(text)
        assert types.keys() == helps.keys() == {family(name) if family(name) in types else name for name, _, _ in rows}
        for name, kind in types.items():
            assert re.fullmatch(r"pando_[a-z_]+", name), name
            assert (kind == "counter") == name.endswith("_total"), name
            assert not re.search(r"_(ms|us|kib|mib|percent)$", name), name
            printed.setdefault(name, kind)
            assert printed[name] == kind
        # All samples of a name stand together, and none twice.
        families = [family(name) if family(name) in types else name for name, _, _ in rows]
        assert len([f for f, before in zip(families, [""] + families) if f != before]) == len(types), who
        assert len({(name, tuple(sorted(labels.items()))) for name, labels, _ in rows}) == len(rows), who
        if shutil.which("promtool"):
            subprocess.run(["promtool", "check", "metrics"], input=text, text=True, check=True)
    told = {}
    for line in open(os.path.join(FOLDER, "README.md")):
        if line.startswith("| `pando_"):
            cells = [cell.strip() for cell in line.split("|")]
            told.update({name: cells[2] for name in re.findall(r"`(pando_\w+)`", cells[1])})
    assert told == printed, set(told.items()) ^ set(printed.items())


def test_metrics_say_what_is_so(c):
    c.heal()
    everything = scrape(c)
    nodes = [rows for who, rows in everything.items() if who.startswith("node")]
    volumes = {volume["volume"]: volume for volume in c.pando_json("volume", "list")}
    for name, volume in volumes.items():
        states = [number for rows in nodes for n, labels, number in rows
                  if n == "pando_volume_state" and labels == {"volume": name, "state": "primary"}]
        assert sorted(states) == [0] * (len(states) - 1) + [1], (name, states)
        epochs = [number for rows in nodes for n, labels, number in rows
                  if n == "pando_volume_epoch" and labels == {"volume": name}]
        assert max(epochs) == volume["epoch"], (name, epochs, volume)
    for who, rows in everything.items():
        found = {name: number for name, _, number in rows}
        assert 0 <= found["pando_directory_age_seconds"] <= 25, who
        assert found["pando_disk_free_bytes"] <= found["pando_disk_size_bytes"] and found["pando_disk_size_bytes"] > 1e9, who
        assert found["pando_disk_failing"] == 0, who
        ends = {labels["use"]: number for name, labels, number in rows if name.startswith("pando_certificate")}
        assert {"cluster", "authority"} <= ends.keys() and ("public" in ends) == who.startswith("router"), ends
        assert all(2e9 < end < 4e9 for end in ends.values()), ends
    wait_for("the files of every volume to be looked at", 30, lambda: value(
        c, "node site-a 1", "pando_volume_retained_bytes", volume="a1-4") >= 4096)
    assert value(c, "node site-a 1", "pando_volume_freed_bytes", volume="a1-4") == 0


def test_metrics_tell_of_a_replica_that_is_away_and_of_mail_at_risk(c):
    name = next(name for name in map(user, range(1, 41)) if c.home(name)["volume"] == "a1-1")
    who = "node site-a 1"
    try:
        wait_for("the replica", 10, lambda: value(c, who, "pando_volume_replicas_connected", volume="a1-1") == 1)
        assert value(c, who, "pando_volume_replicas", volume="a1-1") == 1
        assert value(c, who, "pando_volume_at_risk_messages", volume="a1-1") == 0
        c.daemon("node-b1/replicator").send(signal.SIGSTOP)
        c.send("site-a", name)
        wait_for("the lag", 10, lambda: value(c, who, "pando_volume_lag_seconds", volume="a1-1") > 1 and value(
            c, who, "pando_volume_at_risk_messages", volume="a1-1") == 1)
        wait_for("the loss of the replica", 15, lambda: value(c, who, "pando_volume_replicas_connected", volume="a1-1") == 0)
    finally:
        c.daemon("node-b1/replicator").send(signal.SIGCONT)
        c.heal()
    wait_for("all to be well", 20, lambda: value(c, who, "pando_volume_at_risk_messages", volume="a1-1") == 0 and value(
        c, who, "pando_volume_lag_seconds", volume="a1-1") == 0)


def rules():
    """[{key: text}] of the rules file, by the few forms of YAML that it uses; anything else is refused."""
    found, part = [], None
    for number, line in enumerate(open(os.path.join(FOLDER, "pando.rules.yml")).read().split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r'( *)(- )?(\w+):(?: (?:"([^"\\]*)"|([^"\s{\[].*)))?', line)
        assert match, f"line {number}: {line}"
        indent, dash, key, quoted, plain = len(match[1]) + 2 * bool(match[2]), match[2], match[3], match[4], match[5]
        # A plain value may hold neither of these.
        assert plain is None or not re.search(r": | #", plain), f"line {number}: {line}"
        if indent == 8 and dash:
            assert key == "alert", f"line {number}"
            found.append({})
        if indent == 8 and plain is None and quoted is None:
            part = found[-1][key] = {}
        elif indent == 8:
            assert key not in found[-1], f"line {number}: {key} is given twice"
            found[-1][key] = plain if quoted is None else quoted
        elif indent == 10:
            part[key] = plain if quoted is None else quoted
        else:
            assert (indent, key) in ((0, "groups"), (4, "name"), (4, "rules")), f"line {number}: {line}"
    return found


def names_in(expression):
    """Metrics with the labels that are asked of them; balance and words are checked on the way."""
    plain = re.sub(r'"[^"]*"', '""', expression)
    assert plain.count("(") == plain.count(")") and plain.count("{") == plain.count("}"), expression
    labels = set()
    for inner in re.findall(r"\b(?:by|on|without|ignoring|group_left)\s*\(([^)]*)\)", plain):
        labels |= {word.strip() for word in inner.split(",") if word.strip()}
    for inner in re.findall(r"\{([^}]*)\}", plain):
        for matcher in inner.split(","):
            match = re.fullmatch(r'\s*(\w+)\s*(=|!=|=~|!~)\s*""\s*', matcher)
            assert match, (expression, matcher)
            labels.add(match[1])
    rest = re.sub(r"\{[^}]*\}|\[\d+[smhd]\]|\b(?:by|on|without|ignoring|group_left)\s*\([^)]*\)", " ", plain)
    words = set(re.findall(r"[A-Za-z_]\w*", rest))
    metrics = {word for word in words if word.startswith("pando_") or word == "up"}
    assert metrics and words - metrics <= FUNCTIONS | WORDS, (expression, words - metrics)
    assert not re.search(r"[^\w\s()+\-*/<>=!,.]", rest), expression
    return metrics, labels


def check_expression(expression, labels_of):
    metrics, labels = names_in(expression)
    known = set(GIVEN)
    for name in metrics - {"up"}:
        assert name in labels_of, f"no daemon prints {name}: {expression}"
        known |= labels_of[name]
    assert labels <= known, f"{labels - known} are no labels of {metrics}: {expression}"


def printed_labels(c):
    found = {}
    for rows in scrape(c).values():
        for name, labels, _ in rows:
            found.setdefault(name, set()).update(labels)
    return found


def test_every_alert_is_about_what_daemons_print_and_says_what_to_do(c):
    if shutil.which("promtool"):
        subprocess.run(["promtool", "check", "rules", os.path.join(FOLDER, "pando.rules.yml")], check=True,
                       stdout=subprocess.PIPE)
    labels_of, alerts = printed_labels(c), rules()
    verbs = {" ".join(re.match(r"[a-z-]+(?: [a-z-]+)?", row).group().split())
             for row in re.findall(r"^  ([a-z].*)$", demo.run(demo.PANDO, "--help"), re.M)}
    assert len(alerts) > 8 and len({alert["alert"] for alert in alerts}) == len(alerts)
    for alert in alerts:
        assert alert.keys() == {"alert", "expr", "for", "labels", "annotations"}, alert
        assert re.fullmatch(r"\d+[smhd]", alert["for"]) and alert["labels"]["severity"] in ("critical", "warning"), alert
        assert alert["annotations"].keys() == {"summary", "action"}, alert
        check_expression(alert["expr"], labels_of)
        for first, second in re.findall(r"\bpando ([a-z-]+)(?: ([a-z-]+))?", alert["annotations"]["action"]):
            assert first in verbs or f"{first} {second}" in verbs, alert["annotations"]["action"]
    # The limits that both have are the same.
    header = open(os.path.join(demo.TOP, "ctl", "judge.h")).read()
    limits = {name: int(number) for name, number in re.findall(r"(\w+_MIN) = (\d+)", header)}
    text = " ".join(alert["expr"] for alert in alerts)
    assert f"< {limits['CERTIFICATE_DAYS_LEFT_MIN']} * 86400" in text
    assert f"< {limits['DISK_FREE_MIB_MIN'] << 20} " in text and f"< 0.{limits['DISK_FREE_PERCENT_MIN']:02d}" in text


def test_every_panel_shows_what_daemons_print(c):
    labels_of = printed_labels(c)
    board = json.load(open(os.path.join(FOLDER, "grafana.json")))
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) > 10
    for panel in board["panels"]:
        for target in panel["targets"]:
            check_expression(target["expr"], labels_of)
    for variable in board["templating"]["list"]:
        match = re.fullmatch(r"label_values\((\w+), (\w+)\)|prometheus", variable["query"])
        assert match and (not match[1] or match[2] in labels_of[match[1]]), variable
