#include "core/nearest.h"

#include <errno.h>
#include <stdio.h>

unsigned nearest_distance(struct str a, struct str b)
{
	/* More than the longest key of a configuration has, and as much as a name may have. */
	enum { NAME_MAX_COMPARED = 63 };
	unsigned row[NAME_MAX_COMPARED + 1];
	a = str_first(a, NAME_MAX_COMPARED);
	b = str_first(b, NAME_MAX_COMPARED);
	for (unsigned j = 0; j <= b.length; j++)
		row[j] = j;
	for (unsigned i = 1; i <= a.length; i++) {
		unsigned diagonal = row[0];
		row[0] = i;
		for (unsigned j = 1; j <= b.length; j++) {
			unsigned replace = diagonal + (a.bytes[i - 1] != b.bytes[j - 1]);
			unsigned shorter = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
			diagonal = row[j];
			row[j] = replace < shorter ? replace : shorter;
		}
	}
	return row[b.length];
}

/* Of a short name half may differ only where it begins as the other does: `opne` is meant to be
 * `open`, `nope` is not. */
static bool is_near(struct str wanted, struct str name, unsigned distance)
{
	bool begins_alike = wanted.length && name.length && wanted.bytes[0] == name.bytes[0];
	return (begins_alike ? 2 : 3) * distance <= wanted.length;
}

void nearest_offer(struct nearest *nearest, struct str name)
{
	unsigned distance = nearest_distance(nearest->wanted, name);
	if (!is_near(nearest->wanted, name, distance) ||
		(nearest->name[0] && distance >= nearest->distance))
		return;
	nearest->distance = distance;
	snprintf(nearest->name, sizeof(nearest->name), STR_FORMAT, STR_ARG(name));
}

int nearest_refuse(const struct nearest *nearest, const char *what, struct error *error)
{
	if (nearest->name[0] == '\0')
		return error_set(error, -ENOENT,
			"there is no %s `" STR_FORMAT "`: see `pando %s list`", what,
			STR_ARG(nearest->wanted), what);
	return error_set(error, -ENOENT,
		"there is no %s `" STR_FORMAT "`; did you mean `%s`? See `pando %s list`", what,
		STR_ARG(nearest->wanted), nearest->name, what);
}
