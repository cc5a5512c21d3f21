/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a client may send and be sent by its service (RFC 2697 3 with one bucket, as GCRA): a bucket of `burst`
 * octets that fills up at the service's rate.  What does not fit is dropped, never held back.
 *
 * The bucket is one word beside the counters that the packet touches anyway: the boot time at which it will be
 * full again, in 1/64 ns.  A packet moves that on by its octets' cost, to a 1/64 ns below: less than an octet at
 * 400 Gbit/s, a millionth of one at 8 kbit/s.
 */
#define stage_id_meter STAGE_METER

#define METER_ATTEMPTS 8

enum meter_way { METER_UP, METER_DOWN };

/* Octets' cost in 1/64 ns.  No overflow: both are below 2^32. */
static __always_inline __u64 meter_cost(const struct meter *by, __u64 octets)
{
	return octets * by->cost >> (METER_COST_BITS - METER_TIME_BITS);
}

/* Charge a packet at `at`, which no later reading of the clock precedes.  0, or -1: it does not fit.
 *
 * No CPU's packets leave the bucket emptier than empty, so a word beyond that is of a faster rate's time, and
 * would keep everything out for as long as it reaches: the bucket counts as empty.  The clock is read anew for
 * that, after the word: another CPU may have charged a packet that came after this one. */
static __always_inline int meter_charge(__u64 *word, __u64 at, __u64 cost, __u64 depth)
{
	__u64 seen, ahead;
	int attempt;

	for (attempt = 0; attempt < METER_ATTEMPTS; attempt++) {
		seen = *(volatile __u64 *)word;
		ahead = seen > at ? seen - at : 0;
		if (ahead > depth) {
			at = bpf_ktime_get_boot_ns() << METER_TIME_BITS;
			if (seen > at && seen - at > depth)
				__sync_val_compare_and_swap(word, seen, at + depth);
			continue;
		}
		if (ahead + cost > depth)
			return -1;
		if (__sync_val_compare_and_swap(word, seen, at + ahead + cost) == seen)
			return 0;
	}
	return -1;
}

/* Whether the packet is more than the session may send or be sent by now; if not, it is charged. */
static __always_inline int is_over(struct packet *p, const struct session *session, const enum meter_way way)
{
	const struct meter *by = way == METER_UP ? &session->up : &session->down;
	__u64 *word, seen, at, cost, depth;
	struct usage *counters;

	if (!by->cost)
		return 0;
	counters = usage_of(session);
	if (!counters)
		return 0;
	word = way == METER_UP ? &counters->up.metered_until : &counters->down.metered_until;
	at = now(p) << METER_TIME_BITS;
	cost = meter_cost(by, p->total);
	depth = meter_cost(by, by->burst);
	if (!p->dry)
		return meter_charge(word, at, cost, depth) != 0;
	seen = *(volatile __u64 *)word;
	return (seen > at ? seen - at : 0) + cost > depth;
}

/* Drop what is more than the client's service lets it send; what it is sent, deliver_to() sees to.
 * Needs: session, IPv4.  Changes: usage.up.metered_until. */
static __always_inline int stage_meter(struct packet *p)
{
	return is_over(p, p->session, METER_UP) ? drop(p, DROP_METERED_UP) : NEXT;
}
