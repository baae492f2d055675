#include "router/login.h"

#include "core/clock.h"
#include "core/encode.h"
#include "core/log.h"
#include "core/map.h"
#include "core/rand.h"
#include "core/timer.h"
#include "proto/mail/scram.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	/* In one window: a person mistypes a few times, a program that guesses does it all day. */
	FAILURES_MAX = 30,
	WINDOW_US = 60 * 1000 * 1000,
	/* What a person behind the same address does not take for a failure. */
	SLOWED_MS = 3000,
	/* Addresses remembered; over it the oldest window is forgotten with all others. */
	PEERS_MAX = 100 * 1000,
	/* Above what any check takes, so that all refusals look alike. */
	REFUSAL_MS = 1000,
};

struct peer_record {
	uint64_t window_start_us;
	unsigned failures;
};

struct login {
	struct router *router;
	struct map *peers; /* by address without port */
	atomic_bool stopping; /* read by pool threads */
	uint8_t secret[SHA256_LENGTH]; /* for invented salts */
};

struct login_attempt {
	struct login *login;
	const struct login_handler *handler;
	void *arg;
	struct sasl *sasl;
	struct buf user, password;
	struct directory_credential credential;
	struct login_identity identity; /* mailbox_id 0: nobody */
	struct timer *timer;
	uint64_t started_us;
	enum login_result result;
	bool working, matched;
	atomic_bool aborted; /* read by the pool thread: nobody waits for the result */
	char peer[64];
};

static void attempt_free(struct login_attempt *attempt)
{
	sasl_destroy(&attempt->sasl);
	if (attempt->password.memory)
		explicit_bzero(attempt->password.memory, attempt->password.capacity);
	buf_deinit(&attempt->password);
	buf_deinit(&attempt->user);
	timer_destroy(&attempt->timer);
	free(attempt);
}

static void on_over(void *arg)
{
	struct login_attempt *attempt = arg;
	const struct login_handler *handler = attempt->handler;
	void *handler_arg = attempt->arg;
	enum login_result result = attempt->result;
	struct login_identity identity = attempt->identity;
	struct router *router = attempt->login->router;

	metric_add(
		result == LOGIN_GOOD ? router->metrics.logins : router->metrics.logins_refused, 1);
	if (result == LOGIN_REFUSED)
		log_info("login_refused", "peer=%s user=%s", attempt->peer,
			log_quote(buf_str(&attempt->user)));
	attempt_free(attempt);
	handler->done(handler_arg, result, result == LOGIN_GOOD ? &identity : NULL);
}

/* Also from inside login_message, so it always goes over the timer. */
static void over(struct login_attempt *attempt, enum login_result result, uint64_t delay_ms)
{
	attempt->result = result;
	timer_destroy(&attempt->timer);
	attempt->timer = timer_new(attempt->login->router->loop, on_over, attempt);
	timer_start(attempt->timer, delay_ms);
}

static struct peer_record *peer_record(struct login *login, const char *peer)
{
	struct peer_record *record = map_get(login->peers, str_from(peer));
	if (record && clock_mono_us() - record->window_start_us > WINDOW_US) {
		record->failures = 0;
		record->window_start_us = clock_mono_us();
	}
	return record;
}

static void forget_peers(struct login *login)
{
	size_t position = 0;
	struct str key;
	void *value;

	while (map_next(login->peers, &position, &key, &value))
		free(value);
	map_destroy(&login->peers);
	login->peers = map_create();
}

static void refuse(struct login_attempt *attempt)
{
	struct login *login = attempt->login;
	struct peer_record *record = peer_record(login, attempt->peer);

	if (!record) {
		if (map_count(login->peers) >= PEERS_MAX)
			forget_peers(login);
		record = mem_alloc(sizeof(*record));
		record->window_start_us = clock_mono_us();
		map_set(login->peers, str_from(attempt->peer), record);
	}
	record->failures++;
	uint64_t wait_ms = REFUSAL_MS + rand_u64() % 1000;
	uint64_t spent_ms = (clock_mono_us() - attempt->started_us) / 1000;
	over(attempt, LOGIN_REFUSED, spent_ms < wait_ms ? wait_ms - spent_ms : 0);
}

/* Keys and salt of the user, or of somebody invented. */
static bool find_credential(struct login_attempt *attempt, struct str user)
{
	struct login *login = attempt->login;
	struct directory *directory = login->router->directory;
	struct directory_credential *credential = &attempt->credential;
	char space[DIRECTORY_ADDRESS_MAX];

	if (!directory_is_loaded(directory))
		return false;
	const struct directory_mailbox *mailbox = directory_find_login(directory, user);
	if (mailbox && mailbox->enabled &&
		mailbox->address.length < sizeof(attempt->identity.address) &&
		directory_find_credential(directory, mailbox->id, credential) &&
		credential->iterations > 0) {
		attempt->identity.mailbox_id = mailbox->id;
		memcpy(attempt->identity.mark, mailbox->mark, sizeof(mailbox->mark));
		attempt->identity.access = directory_access(directory, mailbox->id);
		memcpy(attempt->identity.address, mailbox->address.bytes, mailbox->address.length);
		attempt->identity.address[mailbox->address.length] = 0;
		return true;
	}
	credential->iterations = SCRAM_ITERATIONS;
	credential->salt_length = SCRAM_SALT_LENGTH;
	/* In every spelling the same, as it is for a user who is there. */
	sasl_invented_salt(str_of(login->secret, sizeof(login->secret)),
		directory_address_key(user, space), credential->salt);
	rand_bytes(credential->stored_key, SHA256_LENGTH);
	rand_bytes(credential->server_key, SHA256_LENGTH);
	return true;
}

static void on_derive(void *arg)
{
	struct login_attempt *attempt = arg;
	const struct directory_credential *credential = &attempt->credential;
	uint8_t stored[SHA256_LENGTH], server[SHA256_LENGTH];

	/* Who asks and leaves costs nothing. */
	if (atomic_load(&attempt->aborted) || atomic_load(&attempt->login->stopping))
		return;
	attempt->matched = scram_derive(buf_str(&attempt->password),
				   str_of(credential->salt, credential->salt_length),
				   credential->iterations, stored, server) == 0 &&
		digest_equal(stored, credential->stored_key, SHA256_LENGTH);
}

static void on_derived(void *arg)
{
	struct login_attempt *attempt = arg;

	attempt->working = false;
	if (atomic_load(&attempt->aborted))
		attempt_free(attempt);
	else if (attempt->matched && attempt->identity.mailbox_id != 0)
		over(attempt, LOGIN_GOOD, 0);
	else
		refuse(attempt);
}

static void derive(void *arg)
{
	struct login_attempt *attempt = arg;
	attempt->working = true;
	loop_work(attempt->login->router->loop, on_derive, on_derived, attempt);
}

static void check_password(struct login_attempt *attempt)
{
	if (!find_credential(attempt, buf_str(&attempt->user))) {
		over(attempt, LOGIN_UNAVAILABLE, 0);
		return;
	}
	const struct peer_record *record = peer_record(attempt->login, attempt->peer);
	if (record && record->failures > FAILURES_MAX) {
		attempt->timer = timer_new(attempt->login->router->loop, derive, attempt);
		timer_start(attempt->timer, SLOWED_MS);
	} else {
		derive(attempt);
	}
}

static struct login_attempt *attempt_create(struct login *login, const char *peer,
	const struct login_handler *handler, void *arg)
{
	struct login_attempt *attempt = mem_alloc(sizeof(*attempt));
	struct str address = str_from(peer);
	ptrdiff_t colon = str_find_last_byte(address, ':');

	attempt->login = login;
	attempt->handler = handler;
	attempt->arg = arg;
	attempt->started_us = clock_mono_us();
	snprintf(attempt->peer, sizeof(attempt->peer), "%.*s",
		colon < 0 ? (int)address.length : (int)colon, peer);
	return attempt;
}

struct login_attempt *login_start(struct login *login, enum sasl_mechanism mechanism,
	const char *peer, const struct login_handler *handler, void *arg)
{
	struct login_attempt *attempt = attempt_create(login, peer, handler, arg);
	attempt->sasl = sasl_create(mechanism);
	return attempt;
}

struct login_attempt *login_password(struct login *login, struct str user, struct str password,
	const char *peer, const struct login_handler *handler, void *arg)
{
	struct login_attempt *attempt = attempt_create(login, peer, handler, arg);
	buf_append_str(&attempt->user, user);
	buf_append_str(&attempt->password, password);
	check_password(attempt);
	return attempt;
}

/* SCRAM: the salt and a nonce for the user who was named. */
static enum sasl_step give_credential(struct login_attempt *attempt, struct buf *challenge)
{
	const struct directory_credential *credential = &attempt->credential;
	struct buf nonce = { 0 };
	uint8_t random[18];

	if (!find_credential(attempt, sasl_user(attempt->sasl)))
		return SASL_NEED_CREDENTIAL;
	rand_bytes(random, sizeof(random));
	encode_base64(&nonce, str_of(random, sizeof(random)));
	enum sasl_step step = sasl_give_credential(attempt->sasl,
		str_of(credential->salt, credential->salt_length), credential->iterations,
		credential->stored_key, credential->server_key, buf_str(&nonce), challenge);
	buf_deinit(&nonce);
	return step;
}

void login_message(struct login_attempt *attempt, bool has_message, struct str message)
{
	struct buf challenge = { 0 };
	enum sasl_step step = sasl_input(attempt->sasl, has_message, message, &challenge);

	if (step == SASL_NEED_CREDENTIAL)
		step = give_credential(attempt, &challenge);
	if (step != SASL_CHALLENGE)
		buf_append_str(&attempt->user, sasl_user(attempt->sasl));
	switch (step) {
	case SASL_CHALLENGE: attempt->handler->challenge(attempt->arg, buf_str(&challenge)); break;
	case SASL_NEED_CREDENTIAL: over(attempt, LOGIN_UNAVAILABLE, 0); break;
	case SASL_CHECK_PASSWORD:
		buf_append_str(&attempt->password, sasl_password(attempt->sasl));
		check_password(attempt);
		break;
	case SASL_VERIFIED: over(attempt, LOGIN_GOOD, 0); break;
	case SASL_REFUSED: refuse(attempt); break;
	case SASL_MALFORMED: over(attempt, LOGIN_MALFORMED, 0); break;
	}
	buf_deinit(&challenge);
}

void login_abort(struct login_attempt **attempt_pointer)
{
	struct login_attempt *attempt = *attempt_pointer;
	if (!attempt)
		return;
	*attempt_pointer = NULL;
	atomic_store(&attempt->aborted, true);
	if (!attempt->working)
		attempt_free(attempt);
}

/* All routers of a cluster must invent the same salt for a name, or comparing two of them would
 * tell who exists. The authority's certificate is common to them and never shown
 * to mail clients. */
static void make_secret(struct login *login)
{
	struct buf text = { 0 };
	FILE *file = fopen(login->router->config->cluster_ca, "re");

	if (file) {
		size_t length = fread(buf_reserve(&text, 64 << 10), 1, 64 << 10, file);
		buf_commit(&text, length);
		fclose(file);
	} else {
		rand_bytes(buf_reserve(&text, 32), 32);
		buf_commit(&text, 32);
	}
	sha256(buf_str(&text), login->secret);
	buf_deinit(&text);
}

struct login *login_create(struct router *router)
{
	struct login *login = mem_alloc(sizeof(*login));
	login->router = router;
	login->peers = map_create();
	make_secret(login);
	return login;
}

void login_stop(struct login *login)
{
	atomic_store(&login->stopping, true);
}

void login_destroy(struct login **login)
{
	if (!*login)
		return;
	forget_peers(*login);
	map_destroy(&(*login)->peers);
	free(*login);
	*login = NULL;
}
