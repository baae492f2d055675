#include "proto/mail/mime.h"

static const char month_names[] = "janfebmaraprmayjunjulaugsepoctnovdec";

/* The zone names of RFC 5322 section 4.3 that say something; all others mean UTC. */
static const struct {
	const char *name;
	int minutes;
} zones[] = {
	{ "est", -300 }, { "edt", -240 }, { "cst", -360 }, { "cdt", -300 },
	{ "mst", -420 }, { "mdt", -360 }, { "pst", -480 }, { "pdt", -420 },
	{ "jst", 540 },  { "cet", 60 },   { "cest", 120 },
};

int64_t mime_days_from_date(int year, int month, int day)
{
	/* Years begin in March, so that the leap day is a year's last one. */
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t year_of_era = y - era * 400;
	int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
	return era * 146097 + day_of_era - 719468;
}

void mime_date_from_days(int64_t days, int *year_out, int *month_out, int *day_out)
{
	days += 719468;
	int64_t era = (days >= 0 ? days : days - 146096) / 146097;
	int64_t day_of_era = days - era * 146097;
	int64_t year_of_era =
		(day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	int64_t day_of_year =
		day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int64_t month = (5 * day_of_year + 2) / 153;
	*day_out = (int)(day_of_year - (153 * month + 2) / 5 + 1);
	*month_out = (int)(month < 10 ? month + 3 : month - 9);
	*year_out = (int)(year_of_era + era * 400 + (*month_out <= 2));
}

int mime_month_from_name(struct str name)
{
	if (name.length < 3)
		return 0;
	for (int month = 0; month < 12; month++)
		if (str_equal_ignore_case(str_first(name, 3), str_of(month_names + month * 3, 3)))
			return month + 1;
	return 0;
}

/* A run of letters and digits, or of one other byte; comments and white space before it are
 * dropped. */
static struct str next_word(struct str *rest)
{
	mime_skip_comments(rest);
	size_t length = 0;
	while (length < rest->length) {
		char c = ascii_lower(rest->bytes[length]);
		if (!ascii_is_digit(c) && !(c >= 'a' && c <= 'z'))
			break;
		length++;
	}
	if (!length && rest->length)
		length = 1;
	struct str word = str_first(*rest, length);
	*rest = str_from_index(*rest, length);
	return word;
}

static bool next_number(struct str *rest, uint64_t maximum, uint64_t *value_out)
{
	return str_to_u64(next_word(rest), maximum, value_out);
}

static int parse_zone(struct str rest)
{
	struct str word = next_word(&rest);
	uint64_t digits;

	if (word.length == 1 && (word.bytes[0] == '+' || word.bytes[0] == '-')) {
		int sign = word.bytes[0] == '-' ? -1 : 1;
		word = next_word(&rest);
		if (word.length == 4 && str_to_u64(word, 9999, &digits) && digits % 100 < 60)
			return sign * (int)(digits / 100 * 60 + digits % 100);
		return 0;
	}
	for (size_t i = 0; i < array_length(zones); i++)
		if (str_equal_ignore_case(word, str_from(zones[i].name)))
			return zones[i].minutes;
	return 0;
}

/* hh:mm[:ss]; a dot is met in place of the colon. */
static bool parse_time(struct str *rest, uint64_t *seconds_out)
{
	uint64_t hour, minute, second = 0;
	if (!next_number(rest, 24, &hour))
		return false;
	struct str mark = next_word(rest);
	if (mark.length != 1 || (mark.bytes[0] != ':' && mark.bytes[0] != '.') ||
		!next_number(rest, 59, &minute))
		return false;
	struct str behind = *rest;
	mark = next_word(&behind);
	if (mark.length == 1 && (mark.bytes[0] == ':' || mark.bytes[0] == '.') &&
		next_number(&behind, 60, &second))
		*rest = behind;
	*seconds_out = hour * 3600 + minute * 60 + second;
	return true;
}

bool mime_parse_date(struct str value, int64_t *utc_s_out, int *zone_minutes_out)
{
	struct str rest = str_first(value, 256);
	struct str word = next_word(&rest);
	uint64_t day = 0, year = 0, seconds = 0;
	int month = 0;

	if (word.length && !ascii_is_digit(word.bytes[0]) && !mime_month_from_name(word)) {
		word = next_word(&rest);
		while (word.length == 1 && (word.bytes[0] == ',' || word.bytes[0] == '.'))
			word = next_word(&rest);
	}
	bool month_first = (month = mime_month_from_name(word)) != 0;
	if (month_first)
		word = next_word(&rest);
	if (!str_to_u64(word, 31, &day) || !day)
		return false;
	/* The form of asctime(): month, day, time, year. */
	if (month_first && !parse_time(&rest, &seconds))
		return false;
	if (!month_first) {
		do
			word = next_word(&rest);
		while (word.length == 1 && (word.bytes[0] == '-' || word.bytes[0] == '/'));
		month = mime_month_from_name(word);
	}
	do
		word = next_word(&rest);
	while (word.length == 1 && (word.bytes[0] == '-' || word.bytes[0] == '/'));
	if (!month || !str_to_u64(word, 9999, &year))
		return false;
	/* RFC 5322 section 4.3. */
	if (word.length == 2)
		year += year < 50 ? 2000 : 1900;
	else if (word.length == 3)
		year += 1900;
	if (!month_first && !parse_time(&rest, &seconds))
		return false;
	int zone = parse_zone(rest);
	*zone_minutes_out = zone;
	*utc_s_out = mime_days_from_date((int)year, month, (int)day) * 86400 + (int64_t)seconds -
		(int64_t)zone * 60;
	return true;
}
