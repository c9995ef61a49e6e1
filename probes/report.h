/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VESPER probes: stack and kernel log as fields of a record, written where they
 * will lie, since in the places where they are wanted there is no memory. In any
 * context.
 */
#ifndef VESPER_PROBES_REPORT_H
#define VESPER_PROBES_REPORT_H

#include <linux/kmsg_dump.h>
#include <linux/minmax.h>
#include <linux/sched.h>
#include <asm/unwind.h>

#include <vesper/relay.h>

/* Most lines that are looked at from the end of the kernel's log. */
#define PROBE_LOG_LINES	100

/* Where a text of at most @most bytes may be written, and how many fit. */
static inline char *probe_text_begin(struct vesper_payload *payload, size_t most,
				     size_t *room)
{
	size_t left = payload->end - payload->at;

	*room = left > sizeof(u16) ?
		min3(left - sizeof(u16), most, (size_t)U16_MAX) : 0;
	return (char *)payload->at + sizeof(u16);
}

/* It is there. */
static inline void probe_text_end(struct vesper_payload *payload, size_t bytes)
{
	vesper_put_u16(payload, bytes);
	if (!payload->truncated)
		payload->at += bytes;
}

/* A whole line or nothing; false: there is no more room. */
static inline bool probe_add_line(char *text, size_t *used, size_t room,
				  const char *format, unsigned long address)
{
	size_t length = snprintf(text + *used, room - *used, format,
				 (void *)address);

	if (length >= room - *used)
		return false;
	*used += length;
	return true;
}

/*
 * The stack, a line for each function: from @regs on, or else that of @task from
 * where it sleeps, or else (current) from here. Nothing for a user's registers.
 *
 * A task that is not current may wake up and even end meanwhile: callers are in
 * an RCU read section, so the memory of its stack stays mapped, and of what is
 * found there only addresses of kernel code are taken.
 */
static inline void probe_put_stack(struct vesper_payload *payload, size_t most,
				   struct task_struct *task, struct pt_regs *regs)
{
	struct unwind_state state;
	size_t room, used = 0;
	char *text = probe_text_begin(payload, most, &room);

	/* The unwinder begins with who called the place that the registers are at. */
	if (regs && !user_mode(regs))
		probe_add_line(text, &used, room, "%pS\n",
			       instruction_pointer(regs));
	for (unwind_start(&state, task, regs, NULL); !unwind_done(&state);
	     unwind_next_frame(&state)) {
		unsigned long at = unwind_get_return_address(&state);

		/* It may lie behind the end of its function, hence the B. */
		if (!at || !probe_add_line(text, &used, room, "%pB\n", at))
			break;
	}
	probe_text_end(payload, used);
}

/* The last lines of the kernel's log. */
static inline void probe_put_log(struct vesper_payload *payload, size_t most)
{
	struct kmsg_dump_iter iter;
	size_t room, used = 0;
	char *text = probe_text_begin(payload, most, &room);

	kmsg_dump_rewind(&iter);
	if (iter.next_seq - iter.cur_seq > PROBE_LOG_LINES)
		iter.cur_seq = iter.next_seq - PROBE_LOG_LINES;
	if (room)
		kmsg_dump_get_buffer(&iter, false, text, room, &used);
	probe_text_end(payload, used);
}

#endif
