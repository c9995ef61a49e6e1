// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * realtime-spin CPU: takes that CPU for itself, at the highest real-time priority, and never sleeps.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	struct sched_param priority = { .sched_priority = 99 };
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(argc > 1 ? atoi(argv[1]) : 0, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus) || sched_setscheduler(0, SCHED_FIFO, &priority)) {
		perror("realtime-spin");
		return 1;
	}
	for (;;)
		__asm__ volatile("" ::: "memory");
}
