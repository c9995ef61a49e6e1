// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * timed COMMAND…: runs it with its output thrown away, and prints how many nanoseconds that took, from before the
 * process is made until it has ended. The same program measures in dom0 and in a guest.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(int argc, char **argv)
{
	long long start = now();
	int status;
	pid_t child;

	if (argc < 2)
		return 2;
	child = vfork();
	if (!child) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 1);
		execvp(argv[1], argv + 1);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0) {
		perror("timed");
		return 1;
	}
	printf("%lld\n", now() - start);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
