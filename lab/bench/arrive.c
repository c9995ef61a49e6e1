/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * When something comes from modules/bell.c, by the CPU's counter (TSC).
 *
 *   arrive event DOM PORT COUNT    waits for a bare event channel through epoll;
 *                                  prints when each came. Two that come at once
 *                                  are one, so 3 s without any are the end
 *   arrive records COUNT           reads records from standard input as they
 *                                  come; prints how long each was on its way
 *
 * Ends with "@khz N": steps of the counter in a millisecond.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>
#include <xen/xen.h>
#include <xen/sys/evtchn.h>

#define HEADER 24	/* of a record */

static uint64_t counter(void)
{
	_mm_lfence();
	return __rdtsc();
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * UINT64_C(1000000000) + time.tv_nsec;
}

static int events(int dom, int port, unsigned int count)
{
	struct ioctl_evtchn_bind_interdomain bind = { .remote_domain = dom, .remote_port = port };
	int fd = open("/dev/xen/evtchn", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN };
	uint64_t *came = calloc(count, sizeof(*came));
	unsigned int i = 0;
	uint32_t local;

	if (fd < 0 || epoll < 0 || !came || ioctl(fd, IOCTL_EVTCHN_BIND_INTERDOMAIN, &bind) < 0 ||
	    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
		perror("arrive");
		return 1;
	}
	/* A new port is pending: the first event is nobody's. */
	usleep(100000);
	while (read(fd, &local, sizeof(local)) == sizeof(local))
		if (write(fd, &local, sizeof(local)) < 0)
			return 1;
	printf("@waiting\n");
	fflush(stdout);
	while (i < count) {
		int ready = epoll_wait(epoll, &event, 1, i ? 3000 : 60000);

		if (!ready)
			break;
		if (ready < 0)
			continue;
		if (read(fd, &local, sizeof(local)) != sizeof(local))
			continue;
		came[i++] = counter();
		if (write(fd, &local, sizeof(local)) < 0)
			return 1;
	}
	count = i;
	for (i = 0; i < count; i++)
		printf("@came %" PRIu64 "\n", came[i]);
	return 0;
}

static int records(unsigned int count)
{
	static unsigned char room[1 << 16];
	size_t filled = 0;

	while (count) {
		ssize_t got = read(0, room + filled, sizeof(room) - filled);
		uint64_t came = counter();
		size_t at = 0;

		if (got <= 0)
			return 1;
		filled += got;
		while (filled - at >= HEADER + 8) {
			uint64_t sent;

			memcpy(&sent, room + at + HEADER, sizeof(sent));
			printf("@on-its-way %" PRIu64 "\n", came - sent);
			at += HEADER + 8;
			count -= count > 0;
		}
		memmove(room, room + at, filled - at);
		filled -= at;
	}
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t begun = now(), ticks = counter(), took;
	int status = 2;

	if (argc == 5 && !strcmp(argv[1], "event"))
		status = events(atoi(argv[2]), atoi(argv[3]), strtoul(argv[4], NULL, 0));
	else if (argc == 3 && !strcmp(argv[1], "records"))
		status = records(strtoul(argv[2], NULL, 0));
	took = now() - begun;
	if (!status)
		printf("@khz %" PRIu64 "\n", (uint64_t)((double)(counter() - ticks) * 1e6 / took));
	return status;
}
