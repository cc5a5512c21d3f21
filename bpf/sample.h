/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Samples of dropped packets, for whoever asks why a client's packets do not arrive.  Only a packet that is
 * dropped comes here, and in a flood it costs a look at one bucket or two.
 */
#ifndef WAYLEAVE_SAMPLE_H
#define WAYLEAVE_SAMPLE_H

#include "police.h"
#include "verdict.h"

/* Never the punt ring: drops must not take room from DHCP. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 << 10);
} sampled SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SAMPLE_RESULT_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} samples SEC(".maps");

/* A dropped packet in four words: a function that is not inlined takes no more besides the context, and one
 * that is would cost the packets that are not dropped registers. */
struct dropped {
	struct xdp_md *ctx;
	__u64 line;			/* line_word() */
	__u64 source;			/* with the reason above it */
	__u64 who;			/* the session's id, the packet's IPv4 source above it */
	__u64 where;			/* stage, the kind of port and the PPPoE session-id above it */
};

static __always_inline enum port_kind sample_kind(const struct dropped *it)
{
	return it->where >> 8 & 0xff;
}

/* Whose sample it would be, and of what: a client's flood of one kind does not hide its other drops.  A client
 * is a MAC here, and whoever sends makes up as many as it likes: what keeps one sender from hiding the drops of
 * others is its line's bucket. */
static __always_inline __u32 sample_bucket(const struct dropped *it)
{
	__u64 reason = it->source >> 48 << 48;

	if (sample_kind(it) == PORT_SUBSCRIBER)
		return hashed_bucket(BUCKETS_SAMPLE, it->line, it->source);
	if ((__u32)it->who != NO_SESSION)
		return hashed_bucket(BUCKETS_SAMPLE, ~(__u64)(__u32)it->who, reason);
	return hashed_bucket(BUCKETS_SAMPLE, ~it->line, it->who >> 32 | reason);
}

/* Put the head of the frame into the ring.  0, or -1 if that is full.  Nobody is woken: Python looks when
 * it is asked, and now and then. */
static __always_inline int put_sample(struct packet *p, const struct dropped *it)
{
	__u64 length = bpf_xdp_get_buff_len(it->ctx);
	struct sample *record = bpf_ringbuf_reserve(&sampled, sizeof(*record) + SAMPLE_FRAME_MAX, 0);

	if (!record)
		return -1;
	record->at = now(p);
	record->session = it->who;
	record->length = length;
	record->port = it->line >> 32;
	record->svid = it->line >> 16;
	record->cvid = it->line;
	record->reason = it->source >> 48;
	record->stage = it->where;
	mac_store(record->source, it->source);
	record->pppoe = it->where >> 16;
	if (bpf_xdp_load_bytes(it->ctx, 0, record + 1, within(length, 1, SAMPLE_FRAME_MAX))) {
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
		return -1;
	}
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

/* What meters drop has a rate of its own: thousands of clients are at theirs at any time, and that is as it should
 * be; it must not hide what is not. */
static __always_inline __u32 sample_policer(const struct dropped *it)
{
	enum drop_reason reason = it->source >> 48;

	return reason == DROP_METERED_UP || reason == DROP_METERED_DOWN ? POLICE_SAMPLE_METERED : POLICE_SAMPLE;
}

/* Sample a dropped packet: policed by client, then line, then altogether, as punts are.  A line that has nothing
 * left, or all of them, is refused before that: MACs made up there must not use up other clients' buckets.  What
 * comes in by network ports has no line. */
static __noinline int sample_it(struct xdp_md *ctx, __u64 line, __u64 source, __u64 who, __u64 where)
{
	struct dropped it = { .ctx = ctx, .line = line, .source = source, .who = who, .where = where };
	struct packet clock = { }, *p = &clock;	/* the policers need no more of it */
	int has_line = sample_kind(&it) == PORT_SUBSCRIBER;
	__u32 of_line = has_line ? hashed_bucket(BUCKETS_SAMPLE_LINE, line, 0) : 0;
	__u32 of_all = sample_policer(&it);

	if (spent(p, of_all, of_all) || (has_line && spent(p, POLICE_SAMPLE_LINE, of_line)) ||
	    !conforms(p, POLICE_SAMPLE_CLIENT, sample_bucket(&it)) ||
	    (has_line && !conforms(p, POLICE_SAMPLE_LINE, of_line)) || !conforms(p, of_all, of_all))
		count(p, &samples, SAMPLE_POLICED);
	else if (put_sample(p, &it))
		count(p, &samples, SAMPLE_LOST);
	else
		count(p, &samples, SAMPLE_SENT);
	return 0;
}

static __always_inline void sample(const struct packet *p)
{
	sample_it(p->ctx, line_word(p), p->source | (__u64)p->reason << 48,
		  (p->session ? p->session->id : NO_SESSION) | (__u64)p->from << 32, p->stage | p->kind << 8 | (__u64)p->pppoe << 16);
}

#endif
