/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What happens to guests, with the cause. With a number, what was told after the
 * event of that serial; then it goes on until ^C.
 *
 *   cc -o events events.c $(pkg-config --cflags --libs vesper)
 *   ./events 17
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vesper.h>

int main(int argc, char **argv)
{
	struct virt_events *events;
	struct virt_event event;
	uint64_t since = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
	int err = virt_events_open(-1, since, 0, &events);

	if (err) {
		fprintf(stderr, "virt_events_open: %s\n", strerror(-err));
		return 1;
	}
	while ((err = virt_events_next(events, &event, -1)) == 1) {
		if (event.missed)
			printf("some up to %" PRIu64 " are missing\n", event.missed);
		printf("%" PRIu64 " (fault %" PRIu64 ") domain %d, %s: %s, %s: %s\n",
		       event.serial, event.fault, event.domid, event.name,
		       event.event, event.severity, event.cause);
		fflush(stdout);
	}
	fprintf(stderr, "virt_events_next: %s\n", strerror(-err));
	virt_events_close(events);
	return 1;
}
