/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What stands in front of a packet toward a client, ready-made in its row, put there. */
#ifndef WAYLEAVE_ENCAPSULATE_H
#define WAYLEAVE_ENCAPSULATE_H

#include "packet.h"

/* Copy a ready-made header of constant length in the widest words; headers and frames are only
 * 2-aligned, which the kernels this runs on allow. */
static __always_inline void copy_header(void *to, const void *from, const __u32 length)
{
	__u32 done = 0;

	for (; length - done >= 8; done += 8)
		*(__u64 *)(to + done) = *(const __u64 *)(from + done);
	for (; length - done >= 4; done += 4)
		*(__u32 *)(to + done) = *(const __u32 *)(from + done);
	for (; length - done >= 2; done += 2)
		*(__u16 *)(to + done) = *(const __u16 *)(from + done);
}

/* A header of constant length; with PPPoE, how long the packet is in that. */
static __always_inline int put_header(struct packet *p, const struct encapsulation *by, const __u32 length)
{
	void *head = at(p, 0, length);

	if (!head)
		return -1;
	copy_header(head, by->header, length);
	if (length >= 22 && by->pppoe)
		*(__be16 *)(head + length - sizeof(struct pppoe) + offsetof(struct pppoe, length)) =
			bpf_htons(p->total + PPP_LENGTH);
	p->l3 = length;
	return 0;
}

/* Replace everything before the IP header by the client's ready-made encapsulation.  0 on success. */
static __always_inline int encapsulate(struct packet *p, const struct encapsulation *by)
{
	__u32 length = by->length;

	if (length != 14 && length != 18 && length != 22 && length != 26 && length != 30)
		return -1;
	if (p->l3 != length && bpf_xdp_adjust_head(p->ctx, (int)p->l3 - (int)length))
		return -1;
	switch (length) {
	case 14:
		return put_header(p, by, 14);
	case 18:
		return put_header(p, by, 18);
	case 22:
		return put_header(p, by, 22);
	case 26:
		return put_header(p, by, 26);
	default:
		return put_header(p, by, 30);
	}
}

#endif
