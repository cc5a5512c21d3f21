/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The IPv4 header of what the gateway says itself. */
#ifndef WAYLEAVE_IP4_H
#define WAYLEAVE_IP4_H

#include "sum.h"

/* Headers are written in whole words, and summed from what is known of them: to read back what was just
 * written in parts waits for the store buffer. */
static __always_inline void write_ip(struct iphdr *ip, __u8 protocol, __u16 total, be32 from, be32 to)
{
	__u64 sum = bpf_htons(0x4500) + bpf_htons(total) + bpf_htons(0x4000) + bpf_htons(64 << 8 | protocol);
	__be16 *words = (__be16 *)ip;

	words[0] = bpf_htons(0x4500);		/* no options, TOS 0 */
	words[1] = bpf_htons(total);
	words[2] = 0;				/* identification */
	words[3] = bpf_htons(0x4000);		/* whole, as all that the gateway sends */
	words[4] = bpf_htons(64 << 8 | protocol);
	words[5] = ~fold(sum + from + to);
	ip->saddr = from;
	ip->daddr = to;
}

#endif
