/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Puts a probe module into a guest, prints what it records until SECONDS have
 * passed or the guest is gone, and takes the module out again.
 *
 *   cc watch.c $(pkg-config --cflags --libs vesper) -o watch
 *   ./watch 3 /usr/lib/vesper/probes/6.1.0-56-amd64/signal.ko vesper_signal signal 10 "names=sh"
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <vesper.h>

static int failed(const char *what, int err)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-err));
	return 1;
}

static void print(const struct virt_record *record)
{
	if (record->lost)
		printf("%llu lost\n", (unsigned long long)record->lost);
	printf("%s %s cpu %d seq %llu: %zu bytes\n  %s\n", record->channel,
	       record->event ? record->event : "raw", record->cpu,
	       (unsigned long long)record->seq, record->bytes, record->json);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct virt_relay *relay;
	struct virt_record record;
	time_t end;
	int guest, err;

	if (argc < 6) {
		fprintf(stderr, "usage: %s DOMID FILE.ko MODULE CHANNEL SECONDS [PARAMETERS]\n", argv[0]);
		return 2;
	}
	guest = atoi(argv[1]);
	err = virt_insmod(guest, argv[2], argc > 6 ? argv[6] : NULL);
	if (err)
		return failed("virt_insmod", err);
	printf("alive: %s\n", virt_is_alive(guest, argv[3]) ? "yes" : "no");
	err = virt_relay_open(guest, argv[4], 0, &relay);
	if (err)
		return failed("virt_relay_open", err);
	end = time(NULL) + atoi(argv[5]);
	while (time(NULL) < end) {
		err = virt_relay_next(relay, &record, 200);
		if (err == 1)
			print(&record);
		else if (!err)
			break;
		else if (err != -ETIMEDOUT)
			return failed("virt_relay_next", err);
	}
	virt_relay_close(relay);
	err = virt_rmmod(guest, argv[3], 0);
	if (err)
		return failed("virt_rmmod", err);
	printf("done\n");
	return 0;
}
