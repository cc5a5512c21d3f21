/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The kernel's routes. */
#ifndef WAYLEAVE_FIB_H
#define WAYLEAVE_FIB_H

#include "packet.h"
#include "settings.h"

#define FIB_BY_TABLE (1U << 3)			/* BPF_FIB_LOOKUP_TBID, missing in older headers */
#define FIB_TABLE_OFFSET 48			/* of tbid, likewise: shares its place with the VLAN output */

/* Look the packet's destination up in one table, without rules and without the local table.
 * `total` 0: the MTU is not asked about.  Returns BPF_FIB_LKUP_RET_*, or a negative errno. */
static __always_inline long fib_lookup(const struct packet *p, __u32 table, __u16 total, struct bpf_fib_lookup *fib)
{
	__u64 flags = BPF_FIB_LOOKUP_DIRECT;

	__builtin_memset(fib, 0, sizeof(*fib));
	fib->family = 2;			/* AF_INET */
	fib->l4_protocol = p->protocol;
	fib->tot_len = total;
	fib->ifindex = p->ctx->ingress_ifindex;
	fib->tos = p->tos;
	fib->ipv4_src = p->from;
	fib->ipv4_dst = p->to;
	if (settings.fib_by_table) {
		flags |= FIB_BY_TABLE;
		*(__u32 *)((void *)fib + FIB_TABLE_OFFSET) = table;
	}
	return bpf_fib_lookup(p->ctx, fib, sizeof(*fib), flags);
}

#endif
