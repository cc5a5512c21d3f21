/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Bounded access to a frame, for the lab's programs. */
#ifndef WAYLEAVE_LAB_AT_H
#define WAYLEAVE_LAB_AT_H

#include <stddef.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* `size` octets of the frame from `offset` on, or NULL if it has not so many. */
static __always_inline void *at(struct xdp_md *ctx, __u32 offset, __u32 size)
{
	void *start = (void *)(long)ctx->data + offset;

	return start + size > (void *)(long)ctx->data_end ? NULL : start;
}

#endif
