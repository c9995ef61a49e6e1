/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Checks the records of the probe "numbers" of one buffer, as they come on
 * standard input: each in its place, whole, none twice. Prints one line; status
 * 1 when something is wrong that is no gap.
 *
 *   received=9 first=0 next=12 missing=3 repeated=0 torn=0
 *
 * Record: bytes u32, event u16, flags u16, time u64, seq u64; then number u64,
 * length u16, filler, sum u64 (probes/numbers.c says what they are).
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define HEADER 24
#define MOST (1 << 18)

static unsigned char buffer[2 * MOST];

static uint64_t number_at(size_t at, int bytes)
{
	uint64_t value = 0;

	memcpy(&value, buffer + at, bytes);
	return value;
}

static uint64_t filler_word(uint64_t number, uint64_t index)
{
	return ((number + index) * UINT64_C(0x9e3779b97f4a7c15) & UINT64_C(0x0f0f0f0f0f0f0f0f)) +
	       UINT64_C(0x6161616161616161);
}

/* Whether the record at @at is as it was written. */
static bool is_whole(size_t at, size_t bytes)
{
	uint64_t number = number_at(at + HEADER, 8);
	uint64_t filler = number_at(at + HEADER + 8, 2);
	size_t word = at + HEADER + 10;
	uint64_t sum = number;
	uint64_t i;

	if (number_at(at + 4, 2) != 1 || filler % 8 || HEADER + 18 + filler > bytes)
		return false;
	for (i = 0; i < filler / 8; i++, word += 8) {
		uint64_t is = number_at(word, 8);

		if (is != filler_word(number, i))
			return false;
		sum = (sum << 5 | sum >> 59) ^ is;
	}
	return sum == number_at(word, 8);
}

int main(void)
{
	uint64_t received = 0, first = 0, next = 0, missing = 0, repeated = 0, torn = 0;
	size_t filled = 0;

	for (;;) {
		ssize_t count = read(0, buffer + filled, sizeof(buffer) - filled);
		size_t at = 0;

		if (count <= 0)
			break;
		filled += count;
		while (filled - at >= HEADER) {
			size_t bytes = number_at(at, 4);
			uint64_t seq = number_at(at + 16, 8);

			if (bytes < HEADER + 18 || bytes > MOST || bytes % 8) {
				printf("no record where one should be: %zu bytes\n", bytes);
				return 1;
			}
			if (filled - at < bytes)
				break;
			if (!is_whole(at, bytes))
				torn++;
			if (!received)
				first = next = seq;
			if (seq < next)
				repeated++;
			else
				missing += seq - next;
			if (seq >= next)
				next = seq + 1;
			received++;
			at += bytes;
		}
		memmove(buffer, buffer + at, filled - at);
		filled -= at;
	}
	printf("received=%" PRIu64 " first=%" PRIu64 " next=%" PRIu64 " missing=%" PRIu64
	       " repeated=%" PRIu64 " torn=%" PRIu64 "\n",
	       received, first, next, missing, repeated, torn);
	if (filled)
		printf("%zu bytes of a record that has no end\n", filled);
	return repeated || torn || filled;
}
