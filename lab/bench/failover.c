/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the failover benchmark wants of programs. Times are microseconds since 1970, by the clock of the machine it
 * runs on.
 *
 *   failover now            the time
 *   failover stamp          each line of standard input, with the time at which it came before it
 *   failover ask ADDRESS    asks the web server there every 50 ms, and gives it 200 ms; a line for each request:
 *                           when it was sent, when that was over, and the first word of the answer, or "-"
 *   failover serve NAME     a web server that answers NAME. SIGUSR1: it takes memory until it is killed
 *
 * The server is one process, which does not end as long as all is well: what ends is then a failure.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVERY 50000	/* us */
#define LIMIT 200000	/* us */
#define PORT 80

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_REALTIME, &time);
	return time.tv_sec * INT64_C(1000000) + time.tv_nsec / 1000;
}

static int stamp(void)
{
	char *line = NULL;
	size_t room = 0;

	while (getline(&line, &room, stdin) > 0) {
		printf("%" PRId64 " %s", now(), line);
		fflush(stdout);
	}
	return 0;
}

/* Waits for the socket until the deadline. */
static int ready(int fd, short events, int64_t deadline)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };
	int64_t left = (deadline - now() + 999) / 1000;

	return left > 0 && poll(&poll_fd, 1, left) == 1;
}

/* The first word of what the server at that address says. */
static int ask_once(const struct sockaddr_in *server, int64_t deadline, char *word, size_t room)
{
	static const char request[] = "GET / HTTP/1.0\r\n\r\n";
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int error = 0, done = 0;
	socklen_t size = sizeof(error);
	char reply[512], *body;
	size_t got = 0;
	ssize_t count;

	if (fd < 0)
		return 0;
	if (connect(fd, (const void *)server, sizeof(*server)) && errno != EINPROGRESS)
		goto out;
	if (!ready(fd, POLLOUT, deadline) || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) || error)
		goto out;
	if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0)
		goto out;
	while (got < sizeof(reply) - 1 && ready(fd, POLLIN, deadline)) {
		count = recv(fd, reply + got, sizeof(reply) - 1 - got, 0);
		if (count <= 0) {
			done = !count;
			break;
		}
		got += count;
	}
	reply[got] = 0;
	body = strstr(reply, "\r\n\r\n");
	if (done && body && room > 8)
		done = sscanf(body + 4, "%7s", word) == 1;
	else
		done = 0;
out:
	close(fd);
	return done;
}

static int ask(const char *address)
{
	struct sockaddr_in server = { .sin_family = AF_INET, .sin_port = htons(PORT) };

	if (inet_pton(AF_INET, address, &server.sin_addr) != 1)
		return 2;
	for (;;) {
		int64_t begun = now(), left;
		char word[16] = "";

		if (!ask_once(&server, begun + LIMIT, word, sizeof(word)))
			strcpy(word, "-");
		printf("%" PRId64 " %" PRId64 " %s\n", begun, now(), word);
		fflush(stdout);
		left = begun + EVERY - now();
		if (left > 0)
			usleep(left);
	}
}

static void take_memory(int unused)
{
	for (;;) {
		char *piece = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (piece != MAP_FAILED)
			memset(piece, 1, 1 << 20);
	}
}

static int serve(const char *name)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
	char request[1024], reply[256];

	signal(SIGUSR1, take_memory);
	signal(SIGPIPE, SIG_IGN);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (bind(fd, (void *)&address, sizeof(address)) || listen(fd, 64)) {
		perror("serve");
		return 1;
	}
	snprintf(reply, sizeof(reply), "HTTP/1.0 200 OK\r\nContent-Length: %zu\r\n\r\n%s\n", strlen(name) + 1, name);
	for (;;) {
		int client = accept(fd, NULL, NULL);

		if (client < 0)
			continue;
		if (ready(client, POLLIN, now() + LIMIT) && recv(client, request, sizeof(request), 0) > 0)
			send(client, reply, strlen(reply), MSG_NOSIGNAL);
		close(client);
	}
}

int main(int count, char **arguments)
{
	const char *mode = count > 1 ? arguments[1] : "";

	if (!strcmp(mode, "now"))
		return printf("%" PRId64 "\n", now()) < 0;
	if (!strcmp(mode, "stamp"))
		return stamp();
	if (!strcmp(mode, "ask") && count == 3)
		return ask(arguments[2]);
	if (!strcmp(mode, "serve") && count == 3)
		return serve(arguments[2]);
	fputs("usage: failover now | stamp | ask ADDRESS | serve NAME\n", stderr);
	return 2;
}
