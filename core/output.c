#include "core/output.h"

#include <stdlib.h>

void output_add(struct output *output, struct bytes *bytes, size_t offset, size_t length)
{
	if (length == 0) {
		bytes_unref(&bytes);
		return;
	}
	output->length += length;
	struct output_run *last = output->run_count > 0
					  ? &output->runs[output->run_first + output->run_count - 1]
					  : NULL;
	if (last != NULL && last->bytes == NULL && bytes == NULL) {
		last->length += length;
		return;
	}
	if (output->run_first + output->run_count == output->run_capacity) {
		if (output->run_first > 0) {
			memmove(output->runs, output->runs + output->run_first,
				output->run_count * sizeof(*output->runs));
			output->run_first = 0;
		} else {
			output->run_capacity = output->run_capacity ? output->run_capacity * 2 : 4;
			output->runs = mem_resize(
				output->runs, output->run_capacity * sizeof(*output->runs));
		}
	}
	output->runs[output->run_first + output->run_count++] =
		(struct output_run){ bytes, offset, length };
}

unsigned output_gather(const struct output *output, struct iovec *vectors, unsigned limit)
{
	size_t copied_at = output->copied.start;
	unsigned count = 0;
	for (; count < output->run_count && count < limit; count++) {
		const struct output_run *run = &output->runs[output->run_first + count];
		vectors[count].iov_len = run->length;
		if (run->bytes != NULL) {
			vectors[count].iov_base = run->bytes->data + run->offset;
		} else {
			vectors[count].iov_base = output->copied.memory + copied_at;
			copied_at += run->length;
		}
	}
	return count;
}

void output_consume(struct output *output, size_t length)
{
	output->length -= length;
	while (length > 0) {
		struct output_run *run = &output->runs[output->run_first];
		size_t part = run->length < length ? run->length : length;
		if (run->bytes == NULL)
			buf_consume(&output->copied, part);
		run->offset += part;
		run->length -= part;
		length -= part;
		if (run->length == 0) {
			bytes_unref(&run->bytes);
			output->run_first++;
			output->run_count--;
		}
	}
	if (output->run_count == 0)
		output_deinit(output);
}

void output_deinit(struct output *output)
{
	for (size_t i = 0; i < output->run_count; i++)
		bytes_unref(&output->runs[output->run_first + i].bytes);
	free(output->runs);
	buf_deinit(&output->copied);
	*output = (struct output){ 0 };
}
