/*
 * One volume, two copies, one directory: how an opening is proven, a log cut, a volume moved.
 *
 * Logs are one tree. A group that is written has a parent, the group before it, and is never changed: a copy's log is
 * the path to its last group, so the state of a disk is one number, and "the same bytes" is "the same group". Rows that the
 * directory ever had are numbered too: a row put back is an old number, and what a node knows of the directory is one.
 *
 * One step is one decision of one party. Nobody has to take a step: a step that is not taken is a cut line, a machine that
 * is off, an answer that is late. Where the code waits for a time to pass, the step may be taken at any moment, but the
 * end of a fence or hold ends every command that stands on it, as its deadline is a third of that time.
 *
 * A rule of docs/protocol.md is left out by -DNO_<RULE>, where two copies can show what it is for; the promises are the
 * assertions. README.md says how to read this, and which rules have no switch.
 */
#ifndef MAILS
#define MAILS 2    /* messages */
#endif
#ifndef GROUPS
#define GROUPS 8   /* ever written */
#endif
#ifndef OPENINGS
#define OPENINGS 4 /* ever, the first included */
#endif
#ifndef ROWS
#define ROWS 3     /* ever written to the directory, the first included */
#endif
#ifndef COMMANDS
#define COMMANDS 0 /* of `pando failover` */
#endif
#ifndef FAULTS
#define FAULTS 1   /* of all kinds together; each kind that may happen is named by -D */
#endif

#ifndef SLACK
#define SLACK 8    /* a reign's; MAILS is below half of it, as no folder may run half a slack ahead of its replica */
#endif
#define FIRST 2    /* the first epoch, of copy 0: classes are even and odd */
#define FENCE 15   /* a group that is no mail */

/* Promises; -DONLY=n looks for one of them, as another may break first */
#ifndef ONLY
#define ONLY 0
#endif
#define LOST(bad)    assert(ONLY % 4 != 0 || !(bad))  /* 1, 6: confirmed mail is passed over by who could know of it */
#define UID(bad)     assert(ONLY && ONLY != 1 || !(bad))  /* 2: one UID, two messages */
#define WRITER(bad)  assert(ONLY && ONLY != 2 || !(bad))  /* 4: two writers of one epoch, an epoch confirmed below one heard */
#define UNCLEAN(bad) UID(bad)                           /* an unclean reign that is not beyond what was passed over */
#define DIFFER(bad)  assert(ONLY && ONLY != 3 || !(bad))  /* 5: equal addresses, other bytes */

mtype = { REPLICA, PROVES, WAITS, SERVES, FENCED, HELD };

typedef copy {
	mtype state;
	byte tip;              /* disk: the last group; 0: empty */
	byte noted;            /* disk: the highest epoch that was confirmed as heard */
	byte row, told;        /* disk: the directory as it was read last, and the opening it knew */
	byte heard;            /* the highest epoch heard */
	byte writes, begun;    /* its opening; the epoch for which it was last to open */
	byte token, known;     /* 0: none; the depth to which something is known to reach */
	bit answered; byte theirs; /* a proof under way: the other one's end */
	bit over;              /* it is to pass over an epoch that was heard */
	byte mem_tip, mem_writes, mem_token; /* the witness: gone with the machine's boot */
	byte was;              /* mail that the other one has said it has, since the proof began */
};
typedef command { byte at, row, stands, old_tip, old_token, new_tip, new_token, seen, mails; bit fenced, still, speaks };

copy c[2];
command cmd;
byte runs;

byte g_before[GROUPS+1], g_opening[GROUPS+1], g_what[GROUPS+1], g_uid[GROUPS+1], g_halves[GROUPS+1], g_depth[GROUPS+1];
byte groups;
byte o_epoch[OPENINGS+1], o_number[OPENINGS+1], o_writer[OPENINGS+1], openings;
byte r_epoch[ROWS+1], r_node[ROWS+1], r_token[ROWS+1], r_clean[ROWS+1], rows;
byte r_heard[ROWS+1];      /* 1: the old primary was fenced before it was written; 2: it was given back; 3: it stood still, unproven */
byte r_mails[ROWS+1];      /* 3: messages there were then */
byte row, told, row_before, told_before; /* the directory, and what it was before its last change */
byte tokens = 1, mails, confirmed, twice; /* told to a sender; with both copies holding it */
byte m_epoch[MAILS+1];     /* in which a mail was accepted */
byte passed;               /* not in a reign that began where its holder was silent */
byte saved_tip, saved_noted, saved_row, saved_told, saved_node = 2;
byte faults;
byte n, m, v;              /* whose step; 0 between steps */
hidden byte i, x, y, z, a, b, e, mine, his, ok;

#define EPOCH(g)   o_epoch[g_opening[g]]
#define RANK(g)    (o_epoch[g_opening[g]] * 8 + NUMBER(g_opening[g]))
#define MY_EPOCH   r_epoch[c[n].row]
#define NAMED(k)   (c[k].row != 0 && r_node[c[k].row] == k)
#define MAY(k)     (NAMED(k) && c[k].heard <= r_epoch[c[k].row])
#define ROOM(k)    (groups + k <= GROUPS)
#define MAX(p,q)   (p > q -> p : q)
#define NUMBER(o)  o_number[o]
#ifdef NO_INCARNATION
#define SAME(p,q)  (EPOCH(p) == EPOCH(q))
#else
#define SAME(p,q)  (g_opening[p] == g_opening[q])
#endif

#ifdef NO_ALL
#define PASSES (c[n].over && NAMED(n))
#else
#define PASSES (c[n].over && NAMED(n) && c[n].answered)
#endif
#ifdef NO_LAST
#define STOOD x
#else
#define STOOD (x && c[n].mem_tip == y)
#endif

inline UP(g, depth) { do :: g_depth[g] > depth -> g = g_before[g] :: else -> break od }
/* a, b: where two logs are still the same by their vectors, in the one and in the other */
inline COMMON(p, q) {
	a = p; b = q; UP(a, g_depth[b]); UP(b, g_depth[a]);
	do :: a != 0 && !SAME(a, b) -> a = g_before[a]; b = g_before[b] :: else -> break od
}
inline HAS(g, what, yes) { z = g; UP(z, g_depth[what]); yes = (z == what) }
inline MAIL(g, set) {
	set = 0; z = g;
	do :: z != 0 -> if :: g_what[z] != 0 && g_what[z] != FENCE -> set = set | (1 << (g_what[z] - 1)) :: else fi; z = g_before[z]
	   :: else -> break od
}
/* what senders were told of in this epoch or before, and nobody had to pass over */
inline OWED(epoch_, set) {
	set = 0; z = 1;
	do :: z <= mails -> if :: m_epoch[z] <= epoch_ -> set = set | (1 << (z - 1)) :: else fi; z++ :: else -> break od;
	set = set & confirmed & (255 - passed)
}
inline HAS_OPENING(g, o, yes) {
	yes = (o == 0); z = g;
	do :: z != 0 -> yes = yes || g_opening[z] == o; z = g_before[z] :: else -> break od
}
inline MORE(p, q, yes) { yes = q == 0 && p != 0 || p != 0 && q != 0 && (RANK(p) > RANK(q) || RANK(p) == RANK(q) && g_depth[p] > g_depth[q]) }
inline NEXT(above, node, epoch) {
	epoch = above + 1;
#ifndef NO_CLASS
	if :: epoch % 2 != node -> epoch++ :: else fi
#endif
}

/* Above what an unclean reign of that epoch or a lower one passes over: epochs_least_unclean(). */
inline LEAST(tip_, above) {
#ifndef NO_LEAST
	if :: tip_ != 0 -> above = MAX(above, (g_halves[tip_] + 2) / 2) :: else fi
#else
	skip
#endif
}

inline APPEND(k, what, uid, halves) {
	groups++;
	g_before[groups] = c[k].tip; g_depth[groups] = g_depth[c[k].tip] + 1;
	g_opening[groups] = c[k].writes; g_what[groups] = what; g_uid[groups] = uid; g_halves[groups] = halves;
	c[k].tip = groups; c[k].mem_tip = groups;
	printf("copy %d writes group %d after %d: what %d uidnext %d\n", k, groups, g_before[groups], what, uid);
	if :: what != 0 && what != FENCE ->
		i = 1;
		do :: i < groups -> UID(g_what[i] != 0 && g_what[i] != FENCE && g_uid[i] == uid); i++ :: else -> break od
	   :: else fi
}
inline WRITE_ROW(ep_, who_, tok_, clean_, stood_) {
	rows++; r_epoch[rows] = ep_; r_node[rows] = who_; r_token[rows] = tok_; r_clean[rows] = clean_; r_heard[rows] = stood_;
	row_before = row; told_before = told; row = rows;
	printf("directory: row %d epoch %d copy %d token %d clean after %d\n", rows, ep_, who_, tok_, clean_)
}
inline FORGET_MEMORY(k) { c[k].mem_tip = 0; c[k].mem_writes = 0; c[k].mem_token = 0 }
inline FOLLOWS(k) {
	c[k].state = REPLICA; c[k].token = 0; c[k].known = 0; c[k].writes = 0; c[k].answered = 0; c[k].theirs = 0; c[k].was = 0; c[k].begun = 0; c[k].over = 0;
	FORGET_MEMORY(k)
}
inline HEARS(k, epoch) {
	if :: epoch > c[k].heard -> c[k].heard = epoch; printf("copy %d hears of epoch %d\n", k, epoch);
		if :: (c[k].state == SERVES || c[k].state == WAITS || c[k].state == PROVES || c[k].state == FENCED) && r_epoch[c[k].row] < epoch -> FOLLOWS(k)
		   :: else fi
	   :: else fi
}
inline STOPPED() { if :: cmd.at != 0 -> printf("the command ends\n") :: else fi;
	cmd.at = 0; cmd.row = 0; cmd.stands = 0; cmd.old_tip = 0; cmd.old_token = 0; cmd.new_tip = 0; cmd.new_token = 0; cmd.seen = 0; cmd.mails = 0; cmd.fenced = 0; cmd.still = 0; cmd.speaks = 0 }

/* ---- opening ---- */

/* half: agreed with the other copy within the epoch. A reign's numbers: docs/protocol.md, "UIDs". */
inline BEGIN(half, clean) {
	openings++;
	o_epoch[openings] = MY_EPOCH; o_writer[openings] = n;
	x = 0; y = c[n].tip;     /* numbers of openings that either of the two has seen */
	if :: half -> i = 1;
		do :: i < openings -> if :: o_epoch[i] == MY_EPOCH && o_number[i] >= x -> HAS_OPENING(c[n].tip, i, ok);
				if :: !ok -> HAS_OPENING(c[n].theirs, i, ok) :: else fi;
				if :: ok -> x = o_number[i] + 1 :: else fi
			:: else fi; i++
		   :: else -> break od
	   :: !half && EPOCH(y) == MY_EPOCH && y != 0 -> x = o_number[g_opening[y]]
	   :: else fi;
	o_number[openings] = x;
	i = 1; do :: i < openings -> WRITER(o_epoch[i] == MY_EPOCH && o_writer[i] != n); i++ :: else -> break od;
	x = (y == 0 -> 1 : g_uid[y]); e = (y == 0 -> 2 * (FIRST - 1) : g_halves[y]);
	if :: !(y != 0 && EPOCH(y) == MY_EPOCH) && !clean ->
#ifdef NO_LEAST
		i = MAX(2 * (MY_EPOCH - 1), e); /* and what openings have passed over is added */
#else
		i = 2 * (MY_EPOCH - 1); UNCLEAN(y != 0 && i <= e);
#endif
		x = x + (i - e) * (SLACK / 2); e = i
	   :: else fi;
#ifndef NO_HALF
	if :: half -> x = x + SLACK / 2;
#ifndef NO_LEAST
		e++
#endif
	   :: else fi;
#endif
	c[n].writes = openings; c[n].begun = MY_EPOCH;
	printf("copy %d begins opening %d of epoch %d (agreed %d, clean %d)\n", n, openings, MY_EPOCH, half, clean);
	v = e; APPEND(n, 0, x, v);
	c[n].token = 0; c[n].known = 0; c[n].answered = 0; c[n].theirs = 0; c[n].was = 0;
	c[n].mem_writes = openings; c[n].mem_token = 0;
	c[n].state = SERVES;
#ifndef NO_BARRIER
	if :: half -> c[n].state = WAITS :: else fi
#endif
}
/* What this opener could know of, and has not. */
inline CHECK_SAME_EPOCH() {
	MAIL(c[n].tip, mine); MAIL(c[1-n].tip, his);
	OWED(MY_EPOCH, i); LOST((i & twice & his & (255 - mine)) != 0)
}
inline CHECK_REIGN() {
	MAIL(c[n].tip, mine); MAIL(c[1-n].tip, his);
	OWED(MY_EPOCH, i);
	LOST(r_heard[c[n].row] == 2 && (i & twice & his & (255 - mine)) != 0);
	LOST(r_heard[c[n].row] == 1 && (i & his & (255 - mine)) != 0);
	LOST(r_heard[c[n].row] == 3 && (i & his & (255 - mine) & (256 - (1 << r_mails[c[n].row]))) != 0);
	passed = passed | (i & (255 - mine))
}
inline IS_FENCED(k, yes) { yes = (g_what[c[k].tip] == FENCE) }

/* The way of volume_try_open: by this boot's memory, by the token of its row, or it begins to ask. */
inline OPEN() {
	ok = 0; y = c[n].tip; c[n].over = 0;
	e = EPOCH(y);
	if :: y != 0 && e > MY_EPOCH && e % 2 == n && c[n].heard <= e ->    /* its own epoch, and a directory that is behind */
		if :: rows < ROWS -> rows++; r_epoch[rows] = e; r_node[rows] = n; c[n].row = rows; c[n].told = 0 :: else fi
	   :: else fi;
	if :: c[n].heard > MY_EPOCH || (y != 0 && e > MY_EPOCH) -> skip
	   :: else ->
		c[n].begun = MY_EPOCH;
		HAS(y, c[n].mem_tip, x);
		if :: c[n].mem_tip != 0 && !x -> c[n].known = g_depth[c[n].mem_tip] :: else fi;
		x = x && c[n].mem_tip != 0;
		if :: y == 0 && c[n].told == 0 -> BEGIN(0, 1)
#ifdef NO_PROOF
		   :: y != 0 && e == MY_EPOCH -> CHECK_SAME_EPOCH(); BEGIN(0, 0)
		   :: y == 0 && c[n].told != 0 -> CHECK_SAME_EPOCH(); BEGIN(0, 0)
#else
#ifdef NO_ENDED
		   :: y != 0 && e == MY_EPOCH && x && c[n].mem_writes == g_opening[y] ->
#else
		   :: y != 0 && e == MY_EPOCH && x && c[n].mem_writes == g_opening[y] && g_what[y] != FENCE ->
#endif
			CHECK_SAME_EPOCH(); BEGIN(0, 0)
#endif
#ifdef NO_TOKEN
		   :: y != 0 && e < MY_EPOCH ->
#else
		   :: y != 0 && e < MY_EPOCH && r_token[c[n].row] != 0 && (c[n].token == r_token[c[n].row] || c[n].token == 0 && STOOD && c[n].mem_token == r_token[c[n].row]) ->
#endif
			CHECK_REIGN();
			v = (g_what[y] == FENCE && r_clean[c[n].row] == e);
			BEGIN(0, v)
		   :: else -> c[n].state = PROVES; c[n].answered = 0; c[n].theirs = 0; c[n].was = 0; printf("copy %d proves epoch %d\n", n, MY_EPOCH)
		fi
	fi
}
/* ASK and POSITION. Who answers has noted the asker's epoch. */
inline ASK() {
	m = 1 - n; v = (c[n].over -> c[n].heard : MY_EPOCH);
	HEARS(m, v);
	if :: c[m].heard > v -> HEARS(n, c[m].heard)
	   :: c[m].heard <= v && c[m].state == REPLICA && !NAMED(m) ->
		c[m].noted = MAX(c[m].noted, c[m].heard);
		c[n].answered = 1; c[n].theirs = c[m].tip; MAIL(c[m].tip, x); c[n].was = c[n].was | x;
		printf("copy %d answers: group %d\n", m, c[m].tip);
		ORDER()
	   :: else fi
}
/* x: 0 what is here is all, 1 it has more, 2 they differ */
inline ORDER() {
	x = 0;
	if :: c[n].answered ->
		COMMON(c[n].tip, c[n].theirs);
		MORE(c[n].theirs, c[n].tip, y);
		if :: b == c[n].theirs -> DIFFER(a != b)
		   :: b != c[n].theirs && (y || a != c[n].tip && EPOCH(c[n].tip) == EPOCH(c[n].theirs)) -> x = 1;
#ifndef NO_HEARD
			if :: c[n].known < g_depth[c[n].theirs] -> c[n].known = g_depth[c[n].theirs] :: else fi
#endif
		   :: else fi
	   :: else fi
}
/* one group of what it has more, or the cut before that */
inline FETCH() {
	m = 1 - n; ORDER(); HAS(c[m].tip, c[n].theirs, ok);
	if :: x == 1 && ok && c[m].state == REPLICA && !c[n].over ->
		if :: a != c[n].tip -> c[n].tip = a; printf("copy %d sets aside what is above group %d\n", n, a)
		   :: else ->
#ifdef HALF_FETCHED
			y = c[n].theirs; UP(y, g_depth[c[n].tip] + 1); c[n].tip = y;
#else
			c[n].tip = c[n].theirs;
#endif
			printf("copy %d fetches up to group %d\n", n, c[n].tip)
		fi
	   :: else fi
}
/* the opening that the directory was told of is in the log, or a later epoch passed it over */
inline INCLUDES_TOLD(yes) {
	HAS_OPENING(c[n].tip, c[n].told, yes);
	yes = yes || c[n].tip != 0 && o_epoch[c[n].told] < EPOCH(c[n].tip)
}
/* the second proof */
inline AGREE() {
	ORDER(); v = x; INCLUDES_TOLD(ok); x = v; v = 0;
#ifdef NO_TOLD
	ok = 1;
#endif
	if :: ok && x == 0 && c[n].answered && MAY(n) && c[n].tip != 0 && EPOCH(c[n].tip) == MY_EPOCH -> CHECK_SAME_EPOCH(); BEGIN(1, 0)
	   :: else fi
}
/* An epoch was heard that the directory does not know: all are asked under it, and what nobody's log has is passed over. */
inline PASS() {
	c[n].state = PROVES; c[n].over = 1; c[n].begun = MY_EPOCH; c[n].answered = 0; c[n].theirs = 0; c[n].was = 0;
	printf("copy %d would pass over epoch %d\n", n, c[n].heard)
}
/* the third: an epoch of its own, from the directory that still has the row it knows */
inline CLAIM() {
	ORDER(); INCLUDES_TOLD(ok);
#ifdef NO_MISSING
	ok = 1;
#else
	ok = ok && c[n].tip != 0 && g_depth[c[n].tip] >= c[n].known;
#endif
#ifndef NO_COMPARE
	ok = ok && row == c[n].row && told == c[n].told;
#endif
	if :: ok && x == 0 && (MAY(n) || PASSES) ->
		MAIL(c[n].tip, mine); MAIL(c[1-n].tip, his); HAS_OPENING(c[n].tip, told, v);
		OWED(MY_EPOCH, i);
		LOST(!v && (i & twice & his & (255 - mine)) != 0);
		e = his; his = c[n].was; LOST((i & his & (255 - mine)) != 0);
		if :: c[n].over -> OWED(c[n].heard, i); LOST((i & e & (255 - mine)) != 0) :: else fi;
		NEWER(c[n].row, mine);
		if :: c[n].token == 0 -> c[n].token = tokens; tokens++ :: else fi;
		x = MAX(c[n].heard, MY_EPOCH); LEAST(c[n].tip, x); NEXT(x, n, e);
		WRITE_ROW(e, n, c[n].token, 0, 0)
	   :: else fi
}

/* ---- the directory's word ---- */

inline READ() {
	if :: c[n].row == 0 || row != c[n].row && r_epoch[row] >= MY_EPOCH || row == c[n].row && told != c[n].told ->
		c[n].row = row; c[n].told = told; printf("copy %d reads row %d\n", n, row);
		c[n].heard = MAX(c[n].heard, MY_EPOCH);
		if :: c[n].state != REPLICA && c[n].state != HELD && !MAY(n) && !(c[n].over && NAMED(n) && MY_EPOCH == c[n].begun) -> FOLLOWS(n)
		   :: c[n].state == HELD && !NAMED(n) && cmd.stands == 0 -> FOLLOWS(n)
		   :: c[n].state != REPLICA && c[n].state != HELD && c[n].state != FENCED && MAY(n) && MY_EPOCH > c[n].begun -> c[n].state = FENCED; c[n].over = 0
		   :: else fi
	   :: else fi
}
inline TELL() {
	e = o_epoch[c[n].writes];
	if :: e > r_epoch[row] && rows < ROWS -> WRITE_ROW(e, n, 0, 0, 0) :: else fi;
	if :: e == r_epoch[row] && r_node[row] == n -> told_before = (row_before == row -> told : told_before); told = c[n].writes :: else fi
}

/* ---- shipping: FOLLOW, and one group or one cut ---- */

inline SHIP() {
	m = 1 - n; e = o_epoch[c[n].writes];
	HEARS(n, EPOCH(c[m].tip));
	if :: c[n].writes != 0 && c[n].heard <= e && e >= r_epoch[c[m].row] ->
		COMMON(c[m].tip, c[n].tip);
		if :: a == c[m].tip ->
			DIFFER(a != b);
			c[m].heard = MAX(c[m].heard, e);
			if :: c[m].heard <= e ->
				y = c[n].tip; UP(y, g_depth[c[m].tip] + 1); c[m].tip = y;
				printf("copy %d receives group %d\n", m, y);
				if :: EPOCH(y) == e ->
					WRITER(c[m].noted > e);
					c[m].noted = c[m].heard;
					MAIL(y, x); twice = twice | (x & confirmed);
					if :: c[n].state == WAITS && y == c[n].tip -> c[n].state = SERVES :: else fi
				   :: else fi
			   :: else fi
		   :: a != c[m].tip && EPOCH(c[m].tip) >= e ->
#ifdef NO_OWN_EPOCH
			c[m].tip = a; printf("copy %d is cut to group %d\n", m, a); MAIL(a, x); MAIL(c[n].tip, y);
			LOST((twice & (255 - x) & (255 - y)) != 0)
#else
			/* BEHIND: it stops, and asks */
			i = g_depth[c[m].tip]; FORGET_MEMORY(n); c[n].writes = 0; c[n].known = i;
			c[n].state = PROVES; c[n].answered = 0; c[n].theirs = 0; c[n].was = 0; printf("copy %d is behind\n", n)
#endif
		   :: else ->
			if :: e >= c[m].heard && EPOCH(c[m].tip) < e -> c[m].tip = a; printf("copy %d is cut to group %d\n", m, a) :: else fi
		fi
	   :: else fi
}

/* ---- standing still ---- */

inline STAND(k) {
	c[k].token = tokens; tokens++; c[k].mem_tip = c[k].tip; c[k].mem_token = c[k].token;
	if :: c[k].state != FENCED || c[k].writes == 0 -> c[k].mem_writes = 0 :: else fi
}
inline END() {
	if :: c[n].state == HELD -> FOLLOWS(n)
	   :: c[n].state == FENCED && MAY(n) -> OPEN()
	   :: else fi;
	STOPPED()
}

/* ---- pando failover: fence, hold, confirm both, write ---- */

/* What was accepted in the epoch of a row that nobody has looked at could be known of. */
inline NEWER(known_, set_) {
	if :: row != known_ -> z = 1;
		do :: z <= mails -> LOST(m_epoch[z] == r_epoch[row] && (confirmed & (255 - passed) & (255 - set_) & (1 << (z - 1))) != 0); z++ :: else -> break od
	   :: else fi
}
inline COMMAND() {
	v = r_node[cmd.row];   /* the old primary; 1 - v the other */
	if :: cmd.at == 1 ->
		cmd.at = 2;
		cmd.speaks = 1; cmd.seen = c[v].heard; cmd.mails = mails;
#ifdef NO_SERVED
		ok = c[v].state != REPLICA && c[v].state != HELD;
#else
		ok = c[v].state == SERVES || c[v].state == FENCED && c[v].writes != 0;
#endif
		if :: ok && NAMED(v) && r_epoch[c[v].row] == r_epoch[cmd.row] ->
			if :: c[v].state == SERVES && g_what[c[v].tip] != FENCE -> x = g_uid[c[v].tip]; y = g_halves[c[v].tip]; APPEND(v, FENCE, x, y) :: else fi;
			c[v].state = FENCED; STAND(v); c[v].answered = 0; c[v].theirs = 0; c[v].was = 0;
			cmd.fenced = 1; cmd.old_token = c[v].token; cmd.stands = cmd.stands | (1 << v)
		   :: !ok && c[v].state != HELD && NAMED(v) && r_epoch[c[v].row] == r_epoch[cmd.row] ->
			/* it is just being opened: its end counts for nothing, and it does not go on */
			cmd.still = 1;
#ifndef NO_STILL
			c[v].token = tokens; tokens++; c[v].mem_writes = 0; c[v].mem_token = 0;
			c[v].state = FENCED; c[v].writes = 0; c[v].answered = 0; c[v].theirs = 0; c[v].was = 0;
			cmd.old_token = c[v].token; cmd.stands = cmd.stands | (1 << v)
#endif
		   :: else fi;
		cmd.old_tip = c[v].tip;
		printf("the command has asked copy %d (fenced %d)\n", v, cmd.fenced)
	   :: cmd.at == 2 ->
		cmd.at = 3; m = 1 - v;
		if :: (c[m].state == REPLICA || c[m].state == HELD) && !NAMED(m) && r_epoch[c[m].row] <= r_epoch[cmd.row] && c[m].tip != 0 ->
			c[m].state = HELD; STAND(m);
			cmd.new_tip = c[m].tip; cmd.new_token = c[m].token; cmd.seen = MAX(cmd.seen, c[m].heard); cmd.stands = cmd.stands | (1 << m)
		   :: else fi;
		printf("the command has held copy %d at %d\n", m, cmd.new_tip)
	   :: cmd.at == 3 ->
		cmd.at = 4;
#ifndef NO_CONFIRM
		if :: cmd.old_token != 0 && !(c[v].state == FENCED && c[v].token == cmd.old_token) -> STOPPED() :: else fi
#endif
	   :: cmd.at == 4 ->
		cmd.at = 5;
#ifndef NO_CONFIRM
		if :: cmd.new_token != 0 && !(c[1-v].state == HELD && c[1-v].token == cmd.new_token) -> STOPPED() :: else fi
#endif
	   :: cmd.at == 5 -> CHOOSE()
	fi
}
inline CHOOSE() {
	m = v; e = r_epoch[cmd.row];
	MORE(cmd.old_tip, cmd.new_tip, x); MORE(cmd.new_tip, cmd.old_tip, y);
	ok = cmd.fenced && cmd.new_tip != 0 && EPOCH(cmd.new_tip) == e && g_depth[cmd.new_tip] >= g_depth[cmd.old_tip]; /* in step */
	i = 2;
#ifdef NO_MOST
	if :: cmd.new_tip != 0 && (ok || !cmd.fenced) -> i = 1 - m
	   :: cmd.fenced && !(ok && cmd.new_tip != 0) -> i = m
#else
	if :: cmd.new_tip != 0 && (ok || !cmd.fenced && !(cmd.speaks && x)) -> i = 1 - m
	   :: cmd.fenced && !ok && !(cmd.new_tip != 0 && y) -> i = m       /* given back */
#endif
	   :: else fi;
#ifdef NO_COMPARE
	if :: i != 2 && rows < ROWS ->
#else
	if :: i != 2 && rows < ROWS && row == cmd.row ->
#endif
		a = MAX(cmd.seen, e); a = MAX(a, EPOCH(cmd.new_tip)); a = MAX(a, EPOCH(cmd.old_tip));
		if :: i == m -> LEAST(cmd.old_tip, a) :: else -> LEAST(cmd.new_tip, a) fi; NEXT(a, i, b);
		/* what was told to the command, and is not lost since */
		MAIL(cmd.old_tip, mine); MAIL(cmd.new_tip, his);
		if :: i == m -> MAIL(c[1-m].tip, x); LOST((confirmed & (255 - passed) & his & x & (255 - mine)) != 0); NEWER(cmd.row, mine)
		   :: else -> MAIL(c[m].tip, x); LOST(cmd.speaks && (confirmed & (255 - passed) & mine & x & (255 - his)) != 0); NEWER(cmd.row, his)
		fi;
		if :: i == m ->
			x = (cmd.new_tip != 0 && cmd.seen <= e && g_what[cmd.old_tip] == FENCE -> e : 0); y = cmd.old_token; WRITE_ROW(b, i, y, x, 2)
		   :: else ->
			x = (ok && cmd.seen <= e && g_what[cmd.new_tip] == FENCE -> EPOCH(cmd.old_tip) : 0); y = cmd.new_token; z = (cmd.fenced -> 1 : (cmd.still -> 3 : 0)); r_mails[rows+1] = cmd.mails; WRITE_ROW(b, i, y, x, z)
		fi
	   :: else fi;
	STOPPED()
}

/* ---- faults ---- */

inline STARTS(k, boot) {
	faults++;
	x = c[k].mem_tip; y = c[k].mem_writes; z = c[k].mem_token;
	FOLLOWS(k);
	if :: !boot -> c[k].mem_tip = x; c[k].mem_writes = y; c[k].mem_token = z :: else fi;
	c[k].heard = MAX(EPOCH(c[k].tip), 0);
	c[k].heard = MAX(c[k].heard, c[k].noted);
	c[k].heard = MAX(c[k].heard, r_epoch[c[k].row])
}

#define EITHER if :: n = 0 :: n = 1 fi

init {
	d_step {
		openings = 1; o_epoch[1] = FIRST;
		rows = 1; r_epoch[1] = FIRST; row = 1; told = 1; row_before = 1; told_before = 1;
		groups = 1; g_opening[1] = 1; g_uid[1] = 1; g_halves[1] = 2 * (FIRST - 1); g_depth[1] = 1;
		c[0].state = SERVES; c[0].writes = 1; c[0].begun = FIRST; c[0].mem_tip = 1; c[0].mem_writes = 1;
		c[1].state = REPLICA;
#ifdef UNHEARD
		/* two more openings were agreed with copy 1, which then confirmed neither: its disk is full */
		do :: openings < 3 ->
			openings++; o_epoch[openings] = FIRST; o_number[openings] = openings - 1;
			groups++; g_before[groups] = groups - 1; g_opening[groups] = openings; g_uid[groups] = g_uid[groups-1] + SLACK / 2;
			g_depth[groups] = groups; g_halves[groups] = g_halves[groups-1];
#ifndef NO_LEAST
			g_halves[groups] = g_halves[groups] + 1
#endif
		   :: else -> break od;
		c[0].state = WAITS; c[0].writes = 3; c[0].mem_tip = 3; c[0].mem_writes = 3;
#endif
		n = 0;
		do :: n < 2 -> c[n].tip = (n == 0 -> groups : 1); c[n].noted = FIRST; c[n].heard = FIRST; c[n].row = 1; c[n].told = 1; n++ :: else -> break od;
		n = 0
	}
	do
	:: atomic { EITHER; d_step { if :: c[n].state == SERVES && mails < MAILS && ROOM(1) ->
		mails++; m_epoch[mails] = o_epoch[c[n].writes]; confirmed = confirmed | (1 << (mails - 1));
		/* an old primary that has not heard: docs/protocol.md, "What stays impossible" */
		i = 1; do :: i <= openings -> if :: o_epoch[i] > m_epoch[mails] -> passed = passed | (1 << (mails - 1)) :: else fi; i++ :: else -> break od;
		x = g_uid[c[n].tip] + 1; y = g_halves[c[n].tip]; APPEND(n, mails, x, y) :: else fi; n = 0; m = 0; v = 0 } }
	:: atomic { EITHER; d_step { if :: c[n].writes != 0 && c[1-n].state == REPLICA && c[1-n].row != 0 && r_node[c[1-n].row] == n && c[1-n].tip != c[n].tip -> SHIP() :: else fi; n = 0; m = 0; v = 0 } }
	:: atomic { EITHER; d_step { READ(); n = 0; m = 0; v = 0 } }
	:: atomic { EITHER; d_step { HEARS(n, c[1-n].heard); n = 0; m = 0; v = 0 } }
	:: atomic { EITHER; d_step { if :: (c[n].state == REPLICA || c[n].state == HELD || c[n].state == FENCED && MY_EPOCH > c[n].begun) && MAY(n) && ROOM(1) && openings < OPENINGS -> OPEN() :: else fi; n = 0; m = 0; v = 0 } }
	:: atomic { EITHER; d_step { if :: c[n].state == PROVES -> ASK() :: else fi; n = 0; m = 0; v = 0 } }
	:: atomic { EITHER; d_step { if :: c[n].state == PROVES && c[n].answered -> FETCH() :: else fi; n = 0; m = 0; v = 0 } }
	:: atomic { EITHER; d_step { if :: c[n].state == PROVES && c[n].answered && ROOM(1) && openings < OPENINGS -> AGREE() :: else fi; n = 0; m = 0; v = 0 } }
	:: atomic { EITHER; d_step { if :: (c[n].state == PROVES || c[n].state == WAITS) && rows < ROWS -> CLAIM() :: else fi; n = 0; m = 0; v = 0 } }
	:: atomic { EITHER; d_step { if :: c[n].state == REPLICA && NAMED(n) && c[n].heard > MY_EPOCH && c[n].tip != 0 -> PASS() :: else fi; n = 0; m = 0; v = 0 } }
	:: atomic { EITHER; d_step { if :: c[n].answered -> c[n].answered = 0; c[n].theirs = 0 :: else fi; n = 0; m = 0; v = 0 } } /* the line is lost */
	:: atomic { EITHER; d_step { if :: c[n].state == SERVES -> TELL() :: else fi; n = 0; m = 0; v = 0 } }
	:: atomic { EITHER; d_step { if :: (c[n].state == HELD || c[n].state == FENCED) && ROOM(1) && openings < OPENINGS -> END() :: else fi; n = 0; m = 0; v = 0 } }
#if COMMANDS > 0
	:: atomic { runs < COMMANDS && cmd.at == 0 -> d_step { runs++; cmd.at = 1; cmd.row = row; printf("a command begins at row %d\n", row) } }
	:: atomic { cmd.at > 1 || cmd.at == 1 && ROOM(1) -> d_step { COMMAND(); n = 0; m = 0; v = 0; } }
	:: atomic { cmd.at == 1 -> d_step { cmd.at = 2; printf("the old primary is silent\n") } }
	:: atomic { cmd.at == 2 -> d_step { cmd.at = 3; printf("the replica is silent\n") } }
	:: atomic { cmd.at != 0 -> d_step { STOPPED() } }
#endif
#ifdef KILL
	:: atomic { faults < FAULTS -> EITHER; d_step { printf("FAULT: the process of copy %d is killed\n", n); STARTS(n, 0); n = 0 } }
#endif
#ifdef POWER
	:: atomic { faults < FAULTS -> EITHER; d_step { printf("FAULT: copy %d loses power\n", n); STARTS(n, 1); n = 0 } }
#endif
#ifdef TAIL
	:: atomic { faults < FAULTS -> EITHER; d_step { if :: g_depth[c[n].tip] > 1 -> printf("FAULT: copy %d loses power and its last group\n", n); c[n].tip = g_before[c[n].tip]; STARTS(n, 1) :: else fi; n = 0 } }
#endif
#ifdef EMPTY
	:: atomic { faults < FAULTS -> EITHER; d_step { printf("FAULT: copy %d gets an empty disk\n", n); c[n].tip = 0; c[n].noted = 0; c[n].row = 0; c[n].told = 0; STARTS(n, 1); n = 0 } }
#endif
#if defined(BACK) || defined(MEMORY)
	:: atomic { saved_node == 2 && faults < FAULTS -> EITHER; d_step { saved_node = n; saved_tip = c[n].tip; saved_noted = c[n].noted; saved_row = c[n].row; saved_told = c[n].told; n = 0 } }
	:: atomic { saved_node < 2 && faults < FAULTS -> d_step {
		n = saved_node; printf("FAULT: the disk of copy %d is put back to group %d\n", n, saved_tip);
		c[n].tip = saved_tip; c[n].noted = saved_noted; c[n].row = saved_row; c[n].told = saved_told; saved_node = 3; saved_tip = 0; saved_noted = 0; saved_row = 0; saved_told = 0;
#ifdef MEMORY
		faults++; c[n].mem_tip = c[n].tip;
#else
		STARTS(n, 1);
#endif
		n = 0 } }
#endif
#ifdef BOGUS
	:: atomic { faults < FAULTS -> EITHER; d_step { faults++; x = c[n].heard + 1; HEARS(n, x); printf("FAULT: somebody tells copy %d of epoch %d\n", n, c[n].heard); n = 0 } }
	:: atomic { faults < FAULTS -> EITHER; d_step { faults++; x = c[n].heard + 2; HEARS(n, x); printf("FAULT: somebody tells copy %d of epoch %d\n", n, c[n].heard); n = 0 } }
#endif
#ifdef DIRECTORY
	:: atomic { faults < FAULTS && (row != row_before || told != told_before) -> d_step { faults++; printf("FAULT: the directory is put back from row %d to %d\n", row, row_before); row = row_before; told = told_before } }
#endif
	od
}
