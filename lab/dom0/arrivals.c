/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Says of each record that comes on standard input, as `vesper tail --format
 * json` shows it, how long ago it was made: "4.217 ms" and the line. The record's
 * time is on dom0's clock.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

static char line[1 << 20];

int main(void)
{
	while (fgets(line, sizeof(line), stdin)) {
		const char *at = strstr(line, "\"time\":\"");
		unsigned int hour, minute;
		struct timespec now;
		double second, ago;

		clock_gettime(CLOCK_REALTIME, &now);
		/* "time":"2026-03-01T12:34:56.789012345Z" */
		if (!at || sscanf(at + 19, "%u:%u:%lfZ", &hour, &minute, &second) != 3)
			continue;
		ago = now.tv_sec % 86400 + now.tv_nsec / 1e9 - (hour * 3600 + minute * 60 + second);
		if (ago < -43200)
			ago += 86400;	/* midnight */
		printf("%.3f ms %s", ago * 1e3, line);
		fflush(stdout);
	}
	return 0;
}
