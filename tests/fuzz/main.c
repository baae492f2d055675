/*
 * Drives a fuzz target without libFuzzer: each argument is a file, or a directory of files, given
 * to the target as it stands and then some times with bytes changed, cut or repeated. Without
 * arguments the bytes are random. The same arguments do the same each time.
 */

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum {
	/* Changed copies of each file, and random inputs without files: together about a second. */
	MUTATIONS = 50,
	RANDOM_INPUTS = 2000,
	LENGTH_MAX = 1 << 20,
};

static uint64_t state = 1;

static uint64_t next_random(void)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (state ^ state >> 29) >> 8;
}

static void run(const uint8_t *bytes, size_t length)
{
	/* A copy of its own, so that a sanitizer sees the first byte behind it. */
	uint8_t *copy = malloc(length ? length : 1);
	if (!copy)
		abort();
	memcpy(copy, bytes, length);
	LLVMFuzzerTestOneInput(copy, length);
	free(copy);
}

static size_t mutate(uint8_t *bytes, size_t length)
{
	static const char *const pieces[] = { "\r\n", "--", "(", ")", "\"", "{5+}\r\n", "\\", "=?",
		"\0", " " };
	for (unsigned i = 0; i < 1 + next_random() % 8 && length; i++) {
		size_t at = next_random() % length;
		const char *piece = pieces[next_random() % (sizeof(pieces) / sizeof(pieces[0]))];
		size_t piece_length = strlen(piece);
		switch (next_random() % 4) {
		case 0: bytes[at] = (uint8_t)next_random(); break;
		case 1:
			if (at + piece_length <= length)
				memcpy(bytes + at, piece, piece_length);
			break;
		case 2: length = at; break;
		default: {
			size_t from = next_random() % length;
			size_t count = next_random() % 200;
			if (from + count <= length && at + count <= length)
				memmove(bytes + at, bytes + from, count);
			break;
		}
		}
	}
	return length;
}

static void run_file(const char *path)
{
	static uint8_t bytes[LENGTH_MAX], changed[LENGTH_MAX];
	FILE *in = fopen(path, "rb");
	if (!in)
		return;
	size_t length = fread(bytes, 1, sizeof(bytes), in);
	fclose(in);
	run(bytes, length);
	for (unsigned i = 0; i < MUTATIONS; i++) {
		memcpy(changed, bytes, length);
		run(changed, mutate(changed, length));
	}
}

static void run_path(const char *path)
{
	DIR *directory = opendir(path);
	char name[4096];
	if (!directory) {
		run_file(path);
		return;
	}
	for (struct dirent *entry; (entry = readdir(directory));) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		run_file(name);
	}
	closedir(directory);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		run_path(argv[i]);
	for (unsigned i = 0; argc == 1 && i < RANDOM_INPUTS; i++) {
		uint8_t bytes[300];
		size_t length = next_random() % sizeof(bytes);
		for (size_t k = 0; k < length; k++)
			bytes[k] = (uint8_t)(next_random() % 3 ? 32 + next_random() % 95
							       : next_random());
		run(bytes, length);
	}
	return 0;
}
