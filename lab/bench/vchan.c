/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Throughput through libxenvchan, the peer of modules/flood.c and the reader.
 *
 *   vchan send PATH RING CHUNK TOTAL       in the guest: sends to dom0
 *   vchan receive DOM PATH CHUNK TOTAL     in dom0: reads, checksums every byte
 *
 * RING: bytes of the ring; CHUNK: bytes of each send, and most of each receive.
 * Received: "@received BYTES NANOSECONDS SUM CPU_MICROSECONDS".
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <libxenvchan.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * UINT64_C(1000000000) + time.tv_nsec;
}

static uint64_t cpu_time(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * UINT64_C(1000000) + usage.ru_utime.tv_usec +
	       usage.ru_stime.tv_usec;
}

static int send_all(const char *path, size_t ring, size_t chunk, uint64_t total)
{
	struct libxenvchan *channel = libxenvchan_server_init(NULL, 0, path, 1024, ring);
	uint64_t *words = malloc(chunk);
	uint64_t left;
	size_t i;

	if (!channel || !words) {
		perror("vchan");
		return 1;
	}
	for (i = 0; i < chunk / 8; i++)
		words[i] = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
	channel->blocking = 1;
	/* 2: nobody has come yet */
	while (libxenvchan_is_open(channel) == 2)
		libxenvchan_wait(channel);
	for (left = total; left; left -= chunk) {
		if (libxenvchan_send(channel, words, chunk) < 0) {
			perror("send");
			return 1;
		}
	}
	while (libxenvchan_is_open(channel) == 1)
		usleep(10000);
	libxenvchan_close(channel);
	return 0;
}

/* Whole words only come last. */
static uint64_t sum_of(const unsigned char *bytes, size_t count)
{
	const uint64_t *words = (const uint64_t *)bytes;
	uint64_t sums[4] = { 0 };
	size_t i, n = count / 8;

	for (i = 0; i + 4 <= n; i += 4) {
		sums[0] += words[i];
		sums[1] += words[i + 1];
		sums[2] += words[i + 2];
		sums[3] += words[i + 3];
	}
	for (; i < n; i++)
		sums[0] += words[i];
	return sums[0] + sums[1] + sums[2] + sums[3];
}

static int receive_all(int dom, const char *path, size_t chunk, uint64_t total)
{
	struct libxenvchan *channel = NULL;
	unsigned char *room = malloc(chunk);
	uint64_t received = 0, begun = 0, cpu = 0, sum = 0;
	int tries;

	for (tries = 0; tries < 200 && !channel; tries++) {
		channel = libxenvchan_client_init(NULL, dom, path);
		if (!channel)
			usleep(50000);
	}
	if (!channel || !room) {
		perror("vchan");
		return 1;
	}
	channel->blocking = 1;
	while (received < total) {
		int count = libxenvchan_read(channel, room, chunk);

		/* Sends are multiples of 8 bytes, and so are the places where the ring ends. */
		if (count <= 0 || count % 8) {
			fprintf(stderr, "vchan: read %d\n", count);
			return 1;
		}
		if (!received) {
			begun = now();
			cpu = cpu_time();
		}
		sum += sum_of(room, count);
		received += count;
	}
	printf("@received %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", received, now() - begun, sum,
	       cpu_time() - cpu);
	libxenvchan_close(channel);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 6 && !strcmp(argv[1], "send"))
		return send_all(argv[2], strtoul(argv[3], NULL, 0), strtoul(argv[4], NULL, 0),
				strtoull(argv[5], NULL, 0));
	if (argc == 6 && !strcmp(argv[1], "receive"))
		return receive_all(atoi(argv[2]), argv[3], strtoul(argv[4], NULL, 0),
				   strtoull(argv[5], NULL, 0));
	fprintf(stderr, "vchan send PATH RING CHUNK TOTAL | vchan receive DOM PATH CHUNK TOTAL\n");
	return 2;
}
