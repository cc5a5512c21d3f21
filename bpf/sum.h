/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sums for the internet checksum (RFC 1071): of 16-bit words as they lie in memory, so byte order does not matter. */
#ifndef WAYLEAVE_SUM_H
#define WAYLEAVE_SUM_H

#include "packet.h"

/* Bring a sum down to 16 bits, carries added in. */
static __always_inline __u32 fold(__u64 sum)
{
	sum = (sum >> 32) + (__u32)sum;
	sum = (sum >> 32) + (__u32)sum;
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return (sum >> 16) + (sum & 0xffff);
}

/* The sum of octets that begin at an odd place of what is summed. */
static __always_inline __u32 odd(__u32 sum)
{
	return __builtin_bswap16(fold(sum));
}

/* The pseudo header of UDP over IPv4. */
static __always_inline __u64 sum_pseudo(be32 from, be32 to, __u16 length)
{
	return (__u64)from + to + bpf_htons(IPPROTO_UDP) + bpf_htons(length);
}

/* A header of 20 octets without options, its checksum among them. */
static __always_inline __u64 sum_ip4(const struct iphdr *ip)
{
	const __u16 *words = (const __u16 *)ip;
	__u64 sum = 0;
	int i;

#pragma unroll
	for (i = 0; i < 10; i++)
		sum += words[i];
	return sum;
}

#endif
