// SPDX-License-Identifier: GPL-2.0
/*
 * A guest of one CPU and one channel: the module's own C, and a signal as its
 * timer, which comes wherever interrupts are on.
 *
 *   guest FILE SUBBUF_SIZE SUBBUFS FIRST refuse|overwrite irq-off|irq-on|record
 *         WRITES SEED
 *
 * FILE holds, each from a page of its own: positions, the consumed page, data.
 * Says "ready", waits for a line, writes, says what it wrote:
 *   ATTEMPTS WRITTEN KICKS
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "vesper_exports.h"

volatile bool interrupts_off;
struct list_head vesper_exports_live;
static volatile u64 kicks;

void vesper_listener_kick(void) { kicks++; }
void vesper_exports_changed(void) { }
u64 vesper_clock(void) { return 0; }

/* ---- the timer ---- */

static volatile sig_atomic_t at_work;

static void tick(int signal)
{
	if (interrupts_off || at_work)
		return;
	at_work = 1;
	vesper_publish_cpu(0);
	at_work = 0;
}

/* A place where it comes now and then; the signal alone hits few of them. */
static void interrupt(void)
{
	static u32 n;

	n = n * 1664525 + 1013904223;
	if (n >> 30 == 0)
		tick(0);
}

static void start_timer(void)
{
	const struct itimerval often = { { 0, 50 }, { 0, 50 } };

	signal(SIGALRM, tick);
	setitimer(ITIMER_REAL, &often, NULL);
}

/* ---- relay ---- */

static struct rchan_buf buf;
static struct rchan_buf *bufs[] = { &buf };
static struct rchan chan = { .buf = bufs };

int relay_buf_full(struct rchan_buf *b)
{
	return b->subbufs_produced - b->subbufs_consumed >= chan.n_subbufs;
}

size_t relay_switch_subbuf(struct rchan_buf *b, size_t length)
{
	size_t size = chan.subbuf_size, padding = 0;
	void *next;

	if (length > size)
		return 0;
	if (b->offset <= size) {
		padding = size - b->offset;
		b->padding[b->subbufs_produced % chan.n_subbufs] = padding;
		interrupt();
		WRITE_ONCE(b->subbufs_produced, b->subbufs_produced + 1);
		smp_mb();
	}
	interrupt();
	next = b->start + b->subbufs_produced % chan.n_subbufs * size;
	WRITE_ONCE(b->offset, 0);
	interrupt();
	if (!chan.cb->subbuf_start(b, next, b->data, padding)) {
		interrupt();
		WRITE_ONCE(b->offset, size + 1);
		return 0;
	}
	interrupt();
	WRITE_ONCE(b->data, next);
	interrupt();
	b->padding[b->subbufs_produced % chan.n_subbufs] = 0;
	return b->offset + length > size ? 0 : length;
}

static size_t relay_write(const void *bytes, size_t length)
{
	if (buf.offset + length > chan.subbuf_size)
		length = relay_switch_subbuf(&buf, length);
	memcpy(buf.data + buf.offset, bytes, length);
	interrupt();
	smp_wmb();
	WRITE_ONCE(buf.offset, buf.offset + length);
	return length;
}

static int overwrite(struct rchan_buf *b, void *subbuf, void *prev, size_t padding)
{
	return 1;
}

/* ---- the export ---- */

static struct rchan_callbacks original;
static struct vesper_export *export;
static struct vesper_part part;
static struct vesper_buffer buffer;

static void *map(const char *path, size_t *positions)
{
	size_t data = ALIGN(chan.subbuf_size * chan.n_subbufs, PAGE_SIZE);
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	void *at;

	*positions = ALIGN(sizeof(struct vesper_positions) + 8 * chan.n_subbufs,
			   PAGE_SIZE);
	if (fd < 0 || ftruncate(fd, *positions + PAGE_SIZE + data))
		exit(2);
	at = mmap(NULL, *positions + PAGE_SIZE + data, PROT_READ | PROT_WRITE,
		  MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		exit(2);
	return at;
}

static void begin(const char *path, u64 first)
{
	size_t positions;
	u8 *at = map(path, &positions);

	buf = (struct rchan_buf){
		.start = at + positions + PAGE_SIZE,
		.chan = &chan,
		.subbufs_produced = first,
		.padding = calloc(chan.n_subbufs, sizeof(size_t)),
	};
	/* Nothing is left of what was there before. */
	for (u32 i = 0; i < chan.n_subbufs; i++)
		buf.padding[i] = first ? chan.subbuf_size : 0;
	buf.data = buf.start + first % chan.n_subbufs * chan.subbuf_size;
	export = calloc(1, sizeof(*export) + sizeof(export->buffer[0]));
	export->chan = &chan;
	export->subbuf_size = chan.subbuf_size;
	export->subbufs = chan.n_subbufs;
	export->original = &original;
	export->cb.subbuf_start = vesper_subbuf_start;
	export->buffer[0] = &buffer;
	export->parts = (struct list_head){ &part.list, &part.list };
	part = (struct vesper_part){
		.list = { &export->parts, &export->parts },
		.buffers = 1,
		.buffer = &buffer,
	};
	buffer = (struct vesper_buffer){
		.buf = &buf,
		.positions = (void *)at,
		.consumed = (void *)(at + positions),
	};
	vesper_positions_begin(export, &buffer);
	chan.cb = &export->cb;
	vesper_publish_first(export);
	export->live = (struct list_head){ &vesper_exports_live, &vesper_exports_live };
	vesper_exports_live = (struct list_head){ &export->live, &export->live };
}

/* ---- writing ---- */

static u64 state;

static u64 dice(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* All bytes of a write but its length and number follow from them. */
static size_t fill(u8 *room, u32 bytes, u64 number)
{
	memcpy(room, &bytes, 4);
	memcpy(room + 4, &number, 8);
	for (u32 i = 12; i < bytes; i++)
		room[i] = number * 31 + i;
	return bytes;
}

static bool write_one(const char *kind, u64 number)
{
	u32 bytes = 12 + dice() % 80;
	u8 room[128];
	bool done;

	fill(room, bytes, number);
	if (*kind == 'r')
		return !vesper_record(&chan, 1, number % 64 ? 0 : VESPER_URGENT,
				      room, bytes);
	interrupts_off = !strcmp(kind, "irq-off");
	done = relay_write(room, bytes);
	interrupts_off = false;
	return done;
}

int main(int argc, char **argv)
{
	u64 attempts = 0, written = 0, writes;

	if (argc != 9)
		return 2;
	chan.subbuf_size = strtoul(argv[2], NULL, 0);
	chan.n_subbufs = strtoul(argv[3], NULL, 0);
	original.subbuf_start = *argv[5] == 'o' ? overwrite :
				virtrelay_subbuf_start_callback;
	writes = strtoull(argv[7], NULL, 0);
	state = strtoull(argv[8], NULL, 0);
	begin(argv[1], strtoull(argv[4], NULL, 0));
	puts("ready");
	fflush(stdout);
	getchar();
	start_timer();
	while (attempts < writes) {
		written += write_one(argv[6], attempts++);
		/* Let the reader catch up, or fall behind. */
		if (dice() % 512 == 0)
			usleep(dice() % 200);
	}
	signal(SIGALRM, SIG_IGN);
	vesper_publish_final(export);
	printf("%lu %lu %lu\n", attempts, written, kicks);
	return 0;
}
