/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How a packet ends.  A stage returns NEXT or the value of one of the functions below; the entry
 * program counts it in finish().
 */
#ifndef WAYLEAVE_VERDICT_H
#define WAYLEAVE_VERDICT_H

#include "packet.h"
#include "tables.h"

#define RECEIVED_COUNT (PORT_HOST_LINK + 1)	/* index 0: devices that are not configured */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RECEIVED_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} received SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STAGE_COUNT * OUTCOME_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} outcomes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DROP_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct explanation);
} explanation SEC(".maps");

enum {
	NEXT = -1,			/* on to the next stage */
	TO_KERNEL = -2,			/* up the tenant's host link: the entry program sees to it */
};

/* Explain only: the stage runs. */
static __always_inline void note_step(struct packet *p)
{
	struct explanation *told;
	__u32 zero = 0, step;

	if (!p->dry)
		return;
	told = bpf_map_lookup_elem(&explanation, &zero);
	if (!told)
		return;
	step = told->step_count;
	if (step < sizeof(told->steps))
		told->steps[step] = p->stage;
	told->step_count = step + 1;
}

/* Run one stage of a list; the stage's own header says which number it counts under. */
#define RUN(name)								\
	do {									\
		int verdict_;							\
										\
		p->stage = stage_id_##name;					\
		note_step(p);							\
		verdict_ = stage_##name(p);					\
		if (verdict_ != NEXT)						\
			return verdict_;					\
	} while (0)

static __always_inline void count(const struct packet *p, void *map, __u32 index)
{
	__u64 *counter;

	if (p->dry)
		return;
	counter = bpf_map_lookup_elem(map, &index);
	if (counter)
		*counter += 1;
}

static __always_inline int drop(struct packet *p, enum drop_reason reason)
{
	p->outcome = OUTCOME_DROPPED;
	p->reason = reason;
	return XDP_DROP;
}

/* Back out of the port it came in by. */
static __always_inline int answered(struct packet *p)
{
	p->outcome = OUTCOME_ANSWERED;
	return XDP_TX;
}

/* A copy lies in the ring. */
static __always_inline int punted(struct packet *p)
{
	p->outcome = OUTCOME_PUNTED;
	return XDP_DROP;
}

/* To the local kernel on the port it came in by. */
static __always_inline int passed(struct packet *p)
{
	p->outcome = OUTCOME_PASSED;
	return XDP_PASS;
}

/* Have the packet leave by a port.  0, or -1: there is no device behind it. */
static __always_inline int leave_by(struct packet *p, __u32 port)
{
	p->told_out = port;
	return bpf_redirect_map(&egress, port, XDP_DROP) == XDP_REDIRECT ? 0 : -1;
}

/* leave_by() was called and found a device. */
static __always_inline int redirected(struct packet *p, enum outcome outcome)
{
	p->outcome = outcome;
	return XDP_REDIRECT;
}

#endif
