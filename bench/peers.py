"""Postfix -> Dovecot LMTP -> Maildir from Debian's packages, in a private folder on loopback.

Both keep the defaults that make accepted mail safe (Postfix syncs its queue file before 250, Dovecot's
mail_fsync=optimized syncs what LMTP delivers). What would only throttle a benchmark is raised: process and
destination limits, in_flow_delay. Started without the packages' service scripts, ended by process id."""

import os
import pwd
import grp
import signal
import subprocess
import time

import demo
from support import DOMAIN, PASSWORD, Failure, package_version, user, wait_for

POSTFIX_LIB = "/usr/lib/postfix/sbin"
MASTER = """
{smtp_port}    inet  n - n - 100 smtpd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
local     unix  - n n - - local
virtual   unix  - n n - - virtual
lmtp      unix  - - n - 100 lmtp
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""
MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/postfix-data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
meta_directory = /etc/postfix
shlib_directory = /usr/lib/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/postfix.log
myhostname = peer.example.net
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = hash:{folder}/mailboxes
virtual_transport = lmtp:unix:{folder}/dovecot/lmtp
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
default_process_limit = 100
lmtp_destination_concurrency_limit = 20
initial_destination_concurrency = 20
lmtp_destination_recipient_limit = 1
in_flow_delay = 0
qmgr_message_active_limit = 50000
"""
DOVECOT = """
base_dir = {folder}/dovecot
state_dir = {folder}/dovecot-state
log_path = {folder}/dovecot.log
protocols = lmtp imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{folder}/public.pem
ssl_key = <{folder}/public.key
disable_plaintext_auth = no
mail_location = {location}
mail_uid = {mail_uid}
mail_gid = {mail_gid}
first_valid_uid = 1
first_valid_gid = 1
auth_cache_size = 16M
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
  default_fields = home={folder}/mail/%n
}}
default_client_limit = 20000
default_vsz_limit = 1G
service lmtp {{
  process_min_avail = 20
  process_limit = 100
  vsz_limit = 1G
  unix_listener lmtp {{
    mode = 0666
  }}
}}
service imap-login {{
  service_count = 0
  process_min_avail = 2
  client_limit = 10000
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {imaps_port}
    ssl = yes
  }}
}}
service imap {{
  process_limit = 10000
}}
service stats {{
  client_limit = 20000
}}
service anvil {{
  client_limit = 20000
}}
service auth {{
  client_limit = 20000
}}
mail_max_userip_connections = 10000
"""
SHOWN = {"maildir": "maildir:~/Maildir", "mdbox": "mdbox:~/mdbox"}


class Peer:
    """A context: Postfix and Dovecot run inside it, nothing is left after it."""

    def __init__(self, folder, mailboxes, ports, storage="maildir"):
        self.folder, self.mailboxes, self.storage = folder, mailboxes, storage
        self.smtp_port, self.imaps_port = ports
        self.processes = []

    def versions(self):
        return f"Postfix {package_version('postfix')}, Dovecot {package_version('dovecot-core')}, {self.storage}"

    def own(self, path, name, group=None, mode=0o700):
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
        os.chown(path, pwd.getpwnam(name).pw_uid, grp.getgrnam(group).gr_gid if group else -1)

    def write_postfix(self):
        folder = f"{self.folder}/postfix"
        os.makedirs(folder)
        with open(f"{folder}/main.cf", "w") as file:
            file.write(MAIN.format(folder=self.folder, domain=DOMAIN))
        with open(f"{folder}/master.cf", "w") as file:
            file.write(MASTER.format(smtp_port=f"127.0.0.1:{self.smtp_port}"))
        with open(f"{self.folder}/mailboxes", "w") as file:
            file.writelines(f"{user(i)} x\n" for i in range(1, self.mailboxes + 1))
        os.makedirs(f"{self.folder}/queue")
        for name in ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private",
                     "saved", "trace"):
            self.own(f"{self.folder}/queue/{name}", "postfix")
        self.own(f"{self.folder}/queue/maildrop", "postfix", "postdrop", 0o730)
        self.own(f"{self.folder}/queue/public", "postfix", "postdrop", 0o710)
        os.makedirs(f"{self.folder}/queue/pid")
        self.own(f"{self.folder}/postfix-data", "postfix")
        demo.run("/usr/sbin/postmap", "-c", folder, f"hash:{self.folder}/mailboxes")

    def write_dovecot(self):
        mail = pwd.getpwnam("mail")
        self.own(f"{self.folder}/mail", "mail")
        demo.run(demo.PANDO, "cert", "self-signed", "peer.example.net", "--certificate", f"{self.folder}/public.pem",
                 "--key", f"{self.folder}/public.key")
        with open(f"{self.folder}/users", "w") as file:
            file.writelines(f"{user(i)}:::::::\n" for i in range(1, self.mailboxes + 1))
        os.chmod(f"{self.folder}/users", 0o644)
        with open(f"{self.folder}/dovecot.conf", "w") as file:
            file.write(DOVECOT.format(folder=self.folder, location=SHOWN[self.storage], mail_uid=mail.pw_uid,
                                      mail_gid=mail.pw_gid, password=PASSWORD, imaps_port=self.imaps_port))

    def __enter__(self):
        if os.getuid() != 0:
            raise Failure("Postfix and Dovecot are started as root: run this as root")
        os.chmod(self.folder, 0o755)
        try:
            self.write_postfix()
            self.write_dovecot()
            self.start([f"{POSTFIX_LIB}/master", "-c", f"{self.folder}/postfix", "-d"])
            self.start(["/usr/sbin/dovecot", "-F", "-c", f"{self.folder}/dovecot.conf"])
            wait_for("Postfix's greeting", 20, self.greets)
            wait_for("Dovecot's LMTP", 20, lambda: os.path.exists(f"{self.folder}/dovecot/lmtp"))
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self, command):
        log = open(f"{self.folder}/output.log", "ab")
        self.processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                               start_new_session=True))
        log.close()

    def greets(self):
        for process in self.processes:
            if process.poll() is not None:
                raise Failure(f"{process.args[0]} has ended: {open(f'{self.folder}/output.log').read()[-1000:]}")
        with demo.socket.create_connection(("127.0.0.1", self.smtp_port), 2) as door:
            door.settimeout(5)
            return door.recv(100).startswith(b"220")

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                # Its own session: what it started goes with it.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        time.sleep(0.2)
        if not os.environ.get("PANDO_BENCH_KEEP"):
            demo.shutil.rmtree(self.folder, ignore_errors=True)

    def pids(self):
        return {"postfix": self.processes[0].pid, "dovecot": self.processes[1].pid}

    def queue_is_empty(self):
        for name in ("incoming", "active"):
            with os.scandir(f"{self.folder}/queue/{name}") as entries:
                if any(True for _ in entries):
                    return False
        return True

    def deferred(self):
        return sum(len(files) for _, _, files in os.walk(f"{self.folder}/queue/deferred"))

    def home_messages(self):
        """Messages that stand in the mailboxes."""
        if self.storage == "maildir":
            return sum(len(os.listdir(f"{self.folder}/mail/{name}/Maildir/{part}"))
                       for name in os.listdir(f"{self.folder}/mail") for part in ("new", "cur")
                       if os.path.isdir(f"{self.folder}/mail/{name}/Maildir/{part}"))
        counted = demo.run("/usr/bin/doveadm", "-c", f"{self.folder}/dovecot.conf", "-f", "flow", "mailbox", "status",
                           "-u", f"*@{DOMAIN}", "messages", "INBOX")
        return sum(int(line.split("messages=")[1].split()[0]) for line in counted.splitlines())

    def wait_visible(self, messages, seconds):
        """Returns the moment at which the queue was empty with all messages in mailboxes: LMTP's reply takes a
        message out of the queue, and counting mailboxes is not part of the time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.queue_is_empty():
                empty = time.monotonic()
                if self.home_messages() >= messages:
                    return empty
            time.sleep(0.05)
        raise Failure(f"{self.home_messages()} of {messages} messages are in mailboxes, {self.deferred()} deferred; "
                      f"see {self.folder}/postfix.log with PANDO_BENCH_KEEP=1")
