/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One client's packets, whole, as they come in and as they leave.  Only in the capture programs: the compiler
 * leaves all this out of the others.
 *
 * Whose a packet is, is known at its end, and by then it may be another: so each is copied as it comes.
 */
#ifndef WAYLEAVE_CAPTURE_H
#define WAYLEAVE_CAPTURE_H

#include "verdict.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct capture_filter);
} captures SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} captured SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CAPTURE_RESULT_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} capture_results SEC(".maps");

struct capture_record {
	struct captured head;
	__u8 frame[CAPTURE_FRAME_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct capture_record);
} capture_in_hand SEC(".maps");

/* Copy the frame as it stands into the record.  0 on success. */
static __always_inline int copy_frame(struct xdp_md *ctx, struct capture_record *record)
{
	__u64 length = bpf_xdp_get_buff_len(ctx);

	record->head.length = length;
	return bpf_xdp_load_bytes(ctx, 0, record->frame, within(length, 1, CAPTURE_FRAME_MAX));
}

/* At the entry, whoever it is from. */
static __always_inline void take_copy(struct packet *p)
{
	__u32 zero = 0;
	struct capture_record *record = bpf_map_lookup_elem(&capture_in_hand, &zero);

	if (!record)
		return;
	record->head.at = now(p);
	if (copy_frame(p->ctx, record))
		record->head.length = 0;
}

static __always_inline int is_wanted(const struct capture_filter *by, __u16 port, __u16 svid, __u16 cvid, __u64 mac)
{
	if (mac != mac_load(by->mac) || (by->port && by->port != port))
		return 0;
	return !by->tagged || (by->svid == svid && by->cvid == cvid);
}

/* Whether the packet is from the client, or for it. */
static __always_inline int is_captured(const struct packet *p, const struct capture_filter *by)
{
	const struct session *to = p->kind == PORT_SUBSCRIBER ? p->told_to : p->session;

	if (!mac_load(by->mac))
		return 0;
	if (p->kind == PORT_SUBSCRIBER && is_wanted(by, p->port->number, p->svid, p->cvid, p->source))
		return 1;
	return to && is_wanted(by, to->client.port, to->client.svid, to->client.cvid, mac_load(to->client.mac));
}

static __always_inline void put_record(struct capture_record *record, enum capture_side side, __u16 port)
{
	__u64 length = within(record->head.length, 1, CAPTURE_FRAME_MAX);
	__u32 result = CAPTURE_TAKEN;
	__u64 *counter;

	record->head.port = port;
	record->head.side = side;
	if (bpf_ringbuf_output(&captured, record, sizeof(record->head) + length, 0))
		result = CAPTURE_LOST;
	counter = bpf_map_lookup_elem(&capture_results, &result);
	if (counter)
		*counter += 1;
}

/* Put the copy of a packet that came in by port `in` into the ring, and what became of it, if it leaves, by `out`.
 * `fate`: stage, outcome and reason, an octet each.
 * A global function: the verifier looks at it once, however many ways lead here. */
__noinline int put_copies(struct xdp_md *ctx, __u32 in, __u32 out, __u32 fate)
{
	__u32 zero = 0;
	struct capture_record *record = bpf_map_lookup_elem(&capture_in_hand, &zero);

	if (!record)
		return 0;
	record->head.stage = fate;
	record->head.outcome = fate >> 8;
	record->head.reason = fate >> 16;
	if (record->head.length)
		put_record(record, CAPTURE_CAME, in);
	switch (record->head.outcome) {
	case OUTCOME_ANSWERED:
	case OUTCOME_TO_SUBSCRIBER:
	case OUTCOME_TO_NETWORK:
	case OUTCOME_TO_HOST:
		if (copy_frame(ctx, record))
			return 0;
		record->head.at = bpf_ktime_get_boot_ns();
		put_record(record, CAPTURE_LEFT, out);
	}
	return 0;
}

/* At the end: the copies, if they are wanted. */
static __always_inline void capture(struct packet *p)
{
	__u32 zero = 0, out = p->outcome == OUTCOME_ANSWERED ? p->port->number : p->told_out;
	const struct capture_filter *by = bpf_map_lookup_elem(&captures, &zero);

	if (by && is_captured(p, by))
		put_copies(p->ctx, p->port->number, out, p->stage | p->outcome << 8 | p->reason << 16);
}

#endif
