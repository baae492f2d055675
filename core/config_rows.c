#include "core/config.h"

#define TEXT_AS(kind, key, default_text, help)                                                     \
	{ #key, CONFIG_##kind, offsetof(struct config, key), default_text, 0, 0, NULL, help }
#define TEXT(key, default_text, help) TEXT_AS(TEXT, key, default_text, help)
#define WORD(key, default_text, help) TEXT_AS(WORD, key, default_text, help)
#define FOLDER(key, default_text, help) TEXT_AS(FOLDER, key, default_text, help)
#define LISTEN(key, help) TEXT_AS(LISTEN, key, "", help)
#define NUMBER(key, default_text, minimum, maximum, help)                                          \
	{ #key, CONFIG_NUMBER, offsetof(struct config, key), default_text, minimum, maximum, NULL, \
		help }
#define CHOICE(key, default_text, choices, help)                                                   \
	{ #key, CONFIG_CHOICE, offsetof(struct config, key), default_text, 0, 0, choices, help }

const struct config_row config_rows[] = {
	WORD(site, "", "Name of the site this machine stands in, as in the directory."),
	WORD(node, "", "Name of this machine's node in the directory."),
	FOLDER(data_dir, "/var/lib/pando", "Volumes, queue and snapshots."),
	FOLDER(run_dir, "/run/pando", "UNIX sockets between the daemons of this machine."),
	WORD(user, "", "Account to become after the ports are bound; empty stays as started."),
	TEXT(directory, "standalone",
		"PostgreSQL connection string (several hosts allowed), or `standalone`: one "
		"machine, the directory is a file in data_dir."),
	WORD(hostname, "localhost", "Name in greetings and Received fields."),
	TEXT(cluster_ca, "", "Certificate of the cluster's own authority (PEM)."),
	TEXT(node_certificate, "", "Cluster certificate of pando-node."),
	TEXT(node_key, "", "Its key."),
	TEXT(router_certificate, "", "Cluster certificate of pando-router."),
	TEXT(router_key, "", "Its key."),
	TEXT(replicator_certificate, "", "Cluster certificate of pando-replicator."),
	TEXT(replicator_key, "", "Its key."),
	TEXT(ctl_certificate, "", "Cluster certificate of the operator's `pando`."),
	TEXT(ctl_key, "", "Its key."),
	TEXT(backup_key, "", "Public key that `pando backup` seals to."),
	TEXT(public_certificate, "", "What mail clients and servers see (PEM chain)."),
	TEXT(public_key, "", "Its key."),
	LISTEN(smtp_listen,
		"Addresses for incoming mail, separated by spaces, as 0.0.0.0:25 [::]:25."),
	LISTEN(submission_listen, "Submission with STARTTLS (587)."),
	LISTEN(submissions_listen, "Submission under TLS (465)."),
	LISTEN(imap_listen, "IMAP with STARTTLS (143)."),
	LISTEN(imaps_listen, "IMAP under TLS (993)."),
	LISTEN(pop3s_listen, "POP3 under TLS (995); nothing serves it yet."),
	LISTEN(managesieve_listen, "ManageSieve (4190); nothing serves it yet."),
	LISTEN(node_lmtp_listen, "Where the node takes mail from routers (mutual TLS)."),
	LISTEN(node_imap_listen, "Where the node serves IMAP to routers (mutual TLS)."),
	LISTEN(node_control_listen, "Where the node answers `pando` (mutual TLS)."),
	LISTEN(router_control_listen, "Where the router answers `pando` (mutual TLS)."),
	LISTEN(router_queue_listen,
		"Where routers of other sites leave copies of the messages in their queue (mutual "
		"TLS)."),
	LISTEN(replicator_listen, "Where replicators of other sites connect (mutual TLS)."),
	LISTEN(router_http_listen, "HTTP /metrics and /healthz of the router."),
	LISTEN(node_http_listen, "HTTP /metrics and /healthz of the node."),
	LISTEN(replicator_http_listen, "HTTP /metrics and /healthz of the replicator."),
	TEXT_AS(HOST, relay_host, "",
		"host:port of the smart host for other people's addresses; empty refuses to "
		"relay."),
	CHOICE(io_backend, "auto", "auto|uring|posix",
		"How files are written: io_uring where the kernel allows it, or threads."),
	CHOICE(log_level, "info", "debug|info|warn|error", "Least severe line that is logged."),
	NUMBER(worker_threads, "0", 0, 256, "Volume threads of a node; 0 takes one per core."),
	NUMBER(message_bytes_max, "52428800", 65536, 60000000,
		"Largest message; the upper limit keeps a record within one 64 MiB segment."),
	NUMBER(recipients_max, "1000", 100, 1000,
		"Recipients of one transaction; RFC 5321 section 4.5.3.1.8 asks for 100 at least."),
	NUMBER(smtp_sessions_max, "2000", 1, 1000000, "Concurrent SMTP sessions of a router."),
	NUMBER(imap_sessions_max, "50000", 1, 1000000, "Concurrent IMAP sessions of a router."),
	NUMBER(client_sessions_max, "100", 1, 1000000,
		"Concurrent sessions of one client address (IPv6: one /64) that nobody has logged "
		"in on: large senders open some dozens from a host. Loopback is not limited."),
	CHOICE(plaintext_login, "no", "no|loopback",
		"Whether passwords are taken in clear from loopback."),
	NUMBER(alone_after_s, "30", 1, 86400,
		"How long a node that starts waits for silent copies of a volume before it asks "
		"the directory for a new epoch and serves without them."),
	NUMBER(free_after_s, "60", 1, 604800,
		"How long the bytes of an expunged message stay before their room is given back: "
		"somebody may be reading them."),
	NUMBER(retained_mib_max, "4096", 1, 1073741824,
		"How many MiB of a volume's expunged messages wait for a copy that is away before "
		"their room is given back without it: it is stale from then on, and no choice of a "
		"failover until it has caught up. Of those that could be recovered, 32768 at "
		"most."),
	NUMBER(stale_after_s, "600", 1, 604800,
		"For how long a copy may lack what it is told of expunged messages before "
		"`retained_mib_max` is meant for it: a restart, or a short trouble of the line, is "
		"no "
		"reason."),
	NUMBER(write_quotas_per_day, "10", 0, 1000000,
		"How many times its quota may come to a mailbox within a day, 64 MiB at least: "
		"who adds and expunges in turn would fill the disk before the room is given back. "
		"0: as often as it likes."),
	NUMBER(purge_every_s, "3600", 1, 604800,
		"How often a node looks for removed mailboxes whose time is over."),
	NUMBER(scrub_days, "7", 0, 365,
		"In how many days a node reads all that its volumes have on disk, to find what "
		"has rotted; 0 reads it when `pando scrub --now` asks alone."),
	NUMBER(scrub_mib_s_max, "128", 1, 4096,
		"MiB a second that `pando scrub --now` reads at most."),
	NUMBER(fill_mib_s_max, "0", 0, 100000,
		"MiB a second that copies which are far behind get from here at most, all of them "
		"together, until they are near; what is committed goes first in any case. With "
		"less than is committed they never are. 0: as much as line and disks take."),
	NUMBER(remote_wait_ms_max, "2000", 50, 60000,
		"How long durability `remote` waits for a connected replica before the message "
		"counts as at risk."),
	NUMBER(forward_timeout_ms, "10000", 100, 300000,
		"How long a router tries to reach the home before it queues the message itself; "
		"well under the 10 minutes that RFC 5321 section 4.5.3.2.6 gives a client."),
	NUMBER(queue_retry_ms_min, "1000", 100, 3600000, "First delay between delivery attempts."),
	NUMBER(queue_retry_ms_max, "900000", 1000, 86400000,
		"Longest delay between delivery attempts."),
	NUMBER(queue_lifetime_s, "432000", 60, 2592000,
		"Age at which a queued message bounces; RFC 5321 section 4.5.4.1 asks for 4 to 5 "
		"days."),
	NUMBER(queue_delay_notice_s, "14400", 0, 2592000,
		"Age at which the sender of a queued message is told once that it is late; 0 tells "
		"nobody. After four hours a person may want to try another way."),
};

const size_t config_row_count = array_length(config_rows);
