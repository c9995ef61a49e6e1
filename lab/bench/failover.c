/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the failover benchmark wants of programs. Times are microseconds since 1970, by the clock of the machine it
 * runs on.
 *
 *   failover now            the time
 *   failover stamp          each line of standard input, with the time at which it came before it
 *   failover ask ADDRESS    asks the web server there every 50 ms, whatever became of the requests before, and gives
 *                           each 200 ms; when it is over, a line: when it was sent, when that was over, and the first
 *                           word of the answer, or "-"
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
#define IN_FLIGHT (LIMIT / EVERY + 2)
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

struct request {
	int fd;		/* -1: none */
	int64_t sent;
	int is_asked;	/* connected, and the request is on its way */
	size_t got;
	char reply[512];
};

/* Begins one. Left without a socket if that fails at once. */
static void begin(struct request *request, const struct sockaddr_in *server)
{
	request->sent = now();
	request->is_asked = 0;
	request->got = 0;
	request->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (request->fd >= 0 && connect(request->fd, (const void *)server, sizeof(*server)) && errno != EINPROGRESS) {
		close(request->fd);
		request->fd = -1;
	}
}

/* Goes on with one whose socket is ready. 1: it is over, with the first word of the answer, or "-". */
static int go_on(struct request *request, char word[8])
{
	static const char text[] = "GET / HTTP/1.0\r\n\r\n";
	int error = 0;
	socklen_t size = sizeof(error);
	char *body;
	ssize_t count;

	strcpy(word, "-");
	if (!request->is_asked) {
		if (getsockopt(request->fd, SOL_SOCKET, SO_ERROR, &error, &size) || error)
			return 1;
		request->is_asked = 1;
		return send(request->fd, text, sizeof(text) - 1, MSG_NOSIGNAL) != sizeof(text) - 1;
	}
	count = recv(request->fd, request->reply + request->got, sizeof(request->reply) - 1 - request->got, 0);
	if (count < 0)
		return errno != EAGAIN && errno != EINTR;
	request->got += count;
	if (count && request->got < sizeof(request->reply) - 1)
		return 0;
	request->reply[request->got] = 0;
	body = strstr(request->reply, "\r\n\r\n");
	if (body && !count)
		sscanf(body + 4, "%7s", word);
	return 1;
}

static void end(struct request *request, const char *word)
{
	printf("%" PRId64 " %" PRId64 " %s\n", request->sent, now(), word);
	fflush(stdout);
	if (request->fd >= 0)
		close(request->fd);
	request->fd = -1;
}

/*
 * On a fixed schedule, with several under way, so that as many are lost in a second to a server that is silent as to one
 * that refuses. Only if this program gets no CPU are there fewer: a time of the schedule that it missed is left out.
 */
static int ask(const char *address)
{
	struct sockaddr_in server = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	struct request requests[IN_FLIGHT] = { 0 };
	struct pollfd fds[IN_FLIGHT];
	int64_t next = now();
	char word[8];
	int i;

	if (inet_pton(AF_INET, address, &server.sin_addr) != 1)
		return 2;
	for (i = 0; i < IN_FLIGHT; i++)
		requests[i].fd = -1;
	for (;;) {
		int64_t time = now(), wake;

		for (i = 0; i < IN_FLIGHT; i++)
			if (requests[i].fd >= 0 && time >= requests[i].sent + LIMIT)
				end(&requests[i], "-");
		/* One is free: none is older than LIMIT, and no two are of one time of the schedule. */
		for (i = 0; time >= next && i < IN_FLIGHT; i++) {
			if (requests[i].fd >= 0)
				continue;
			next += ((time - next) / EVERY + 1) * EVERY;
			begin(&requests[i], &server);
			if (requests[i].fd < 0)
				end(&requests[i], "-");
		}
		wake = next;
		for (i = 0; i < IN_FLIGHT; i++) {
			fds[i].fd = requests[i].fd;
			fds[i].events = requests[i].is_asked ? POLLIN : POLLOUT;
			if (requests[i].fd >= 0 && requests[i].sent + LIMIT < wake)
				wake = requests[i].sent + LIMIT;
		}
		wake -= now();
		if (poll(fds, IN_FLIGHT, wake > 0 ? (wake + 999) / 1000 : 0) <= 0)
			continue;
		for (i = 0; i < IN_FLIGHT; i++)
			if (requests[i].fd >= 0 && fds[i].revents && go_on(&requests[i], word))
				end(&requests[i], word);
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
	struct pollfd ready = { .events = POLLIN };
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
		ready.fd = client;
		if (poll(&ready, 1, LIMIT / 1000) == 1 && recv(client, request, sizeof(request), 0) > 0)
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
