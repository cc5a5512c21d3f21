/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Policers: a bucket is its virtual time in one word (GCRA), so a packet costs one compare-and-swap
 * and there is nothing to refill.
 */
#ifndef WAYLEAVE_POLICE_H
#define WAYLEAVE_POLICE_H

#include "packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, POLICER_COUNT);
	__type(key, __u32);
	__type(value, struct policer_rate);
} policers SEC(".maps");

/* First one bucket a policer (index enum policer), for those that have only one; then the hashed
 * ones, BUCKET_COUNT a kind. */
enum bucket_kind {
	BUCKETS_CLIENT = 0,
	BUCKETS_LINE = 1,
	BUCKETS_LINK_LINE = 2,
	BUCKETS_SAMPLE = 3,
	BUCKETS_SAMPLE_LINE = 4,
	BUCKETS_KINDS = 5,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, POLICER_COUNT + BUCKETS_KINDS * BUCKET_COUNT);
	__type(key, __u32);
	__type(value, boot_ns);
} buckets SEC(".maps");

/* Drawn once, so that nobody can choose a MAC that shares a bucket with a neighbour's. */
static __u32 bucket_seed;

/* Mix two words and the seed into the index of a hashed bucket. */
static __always_inline __u32 hashed_bucket(enum bucket_kind kind, __u64 a, __u64 b)
{
	__u64 mixed;

	if (!bucket_seed)
		bucket_seed = bpf_get_prandom_u32() | 1;
	mixed = (a ^ bucket_seed) * 0x9e3779b97f4a7c15ULL;
	mixed ^= mixed >> 32;
	mixed = (mixed ^ b) * 0xd6e8feb86659fd93ULL;
	mixed ^= mixed >> 29;
	mixed *= 0xd6e8feb86659fd93ULL;
	return POLICER_COUNT + kind * BUCKET_COUNT + (mixed >> 48) % BUCKET_COUNT;
}

_Static_assert(BUCKET_COUNT <= 1 << 16, "hashed_bucket() yields 16 bits");

/* The line as one word. */
static __always_inline __u64 line_word(const struct packet *p)
{
	return (__u64)p->port->number << 32 | (__u32)p->svid << 16 | p->cvid;
}

/* Whether PPPoE's rates count, in buckets besides those of DHCP: who does both needs both. */
static __always_inline __u64 is_pppoe_control(const struct packet *p)
{
	return p->control > CONTROL_DHCP4;
}

/* The bucket of the line that the packet came by. */
static __always_inline __u32 line_bucket(const struct packet *p)
{
	return hashed_bucket(BUCKETS_LINE, line_word(p), is_pppoe_control(p));
}

/* The bucket of the client that sent the packet. */
static __always_inline __u32 client_bucket(const struct packet *p)
{
	return hashed_bucket(BUCKETS_CLIENT, line_word(p), p->source | is_pppoe_control(p) << 48);
}

#define POLICE_ATTEMPTS 8

/* Whether the bucket has no room for another packet.  Charges nothing. */
static __always_inline int spent(struct packet *p, __u32 policer, __u32 bucket)
{
	const struct policer_rate *rate = bpf_map_lookup_elem(&policers, &policer);
	const volatile boot_ns *word = bpf_map_lookup_elem(&buckets, &bucket);
	boot_ns virtual;

	if (!rate || !rate->cost_ns || !word)
		return 0;
	virtual = *word;
	return virtual > now(p) && virtual - now(p) > rate->burst_ns;
}

/* Whether one more packet fits the bucket; if so, it is charged.  Loses to other CPUs at most
 * POLICE_ATTEMPTS times, which takes a flood, and then refuses. */
static __always_inline int conforms(struct packet *p, __u32 policer, __u32 bucket)
{
	const struct policer_rate *rate = bpf_map_lookup_elem(&policers, &policer);
	boot_ns *word, seen, virtual;
	__u64 cost, burst;
	int attempt;

	if (p->dry)
		return !spent(p, policer, bucket);
	if (!rate)
		return 1;
	cost = rate->cost_ns;
	burst = rate->burst_ns;
	if (!cost)
		return 1;
	word = bpf_map_lookup_elem(&buckets, &bucket);
	if (!word)
		return 1;
	for (attempt = 0; attempt < POLICE_ATTEMPTS; attempt++) {
		seen = *(volatile boot_ns *)word;
		virtual = seen > now(p) ? seen : now(p);
		if (virtual - now(p) > burst)
			return 0;
		if (__sync_val_compare_and_swap(word, seen, virtual + cost) == seen)
			return 1;
	}
	return 0;
}

#endif
