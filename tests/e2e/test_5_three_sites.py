"""Three copies of every volume: the one that has most is found, wherever the operator points."""

import os
import signal

import world
from runbook import Runbook
from test_5_failover import same_mail, snapshot
from world import user, wait_for


def all_have_more(three):
    """What `pando failover --to site-b` says of every volume; none moves."""
    said = [v["result"] for v in three.pando_json("failover", "site-a", "--to", "site-b", check=False)["volumes"]]
    reasons = ("could not be asked", "no replica answers", "no replica has said yet", "has more")
    assert all(any(reason in result for reason in reasons) for result in said), said
    return all(three.node_name("site-c", 1) + " has more" in result for result in said)


def test_a_third_site_that_has_more_is_not_passed_over(c):
    three = world.World(os.path.join(c.folder, "three"), world.free_offset())
    try:
        three.create(["site-a", "site-b", "site-c"], 1)
        three.start()
        three.wait_serving()
        three.wait_nodes()
        users = [user(i) for i in range(1, 13)]
        for name in users:
            three.send("site-a", name)
        # What comes now has its second copy at site-c only.
        three.stop(signal.SIGKILL, "site-b")
        for name in users:
            three.send("site-c", name)
        before = snapshot(three, "site-c", users)
        three.stop(signal.SIGKILL, "site-a")
        # Site-b, which is only restarting, is not passed over in silence; nor is site-c, which has most.
        before_row = three.pando_json("volume", "list")
        book = Runbook(three, "A site is lost")
        book.says("`NODE could not be asked and may have more of it: start it first (--accept-loss passes it over)`")
        silent = three.pando_json("failover", "site-a", check=False)
        assert all(three.node_name("site-b", 1) + " could not be asked" in v["result"]
                   for v in silent["volumes"]), silent
        assert "could not be asked" in three.pando_json(
            "failover", "site-a", "--dry-run", check=False)["volumes"][0]["result"]
        assert three.pando_json("volume", "list") == before_row
        # It comes up while the command is given again and again: passed over at no moment, and then it has less.
        book.says("a volume of which another site has more than `--to` does not move, and the result names the node")
        three.start("site-b")
        wait_for("site-b to be heard", 30, lambda: all_have_more(three))
        assert three.pando_json("volume", "list") == before_row
        plan = three.pando_json("failover", "site-a", "--dry-run")
        assert all(v["to"] == three.node_name("site-c", 1) for v in plan["volumes"]), plan
        result = three.pando_json("failover", "site-a")
        assert all(v["result"] == "served" and v["to"] == three.node_name("site-c", 1)
                   for v in result["volumes"]), result
        same_mail(before, snapshot(three, "site-b", users))
        # The others follow at once, and nothing has to be waited for: a move on to site-b is clean.
        three.start("site-a")
        three.wait_nodes()
        result = three.pando_json("failover", "site-c", "--to", "site-b")
        assert all(v["result"] == "served" and v["clean"] is True for v in result["volumes"]), result
        same_mail(before, snapshot(three, "site-a", users))
    finally:
        three.end()
