/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#define stage_id_deliver STAGE_DELIVER

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

static __always_inline int put_header(struct packet *p, const struct encapsulation *by, const __u32 length)
{
	void *head = at(p, 0, length);

	if (!head)
		return -1;
	copy_header(head, by->header, length);
	p->l3 = length;
	return 0;
}

/* Replace everything before the IP header by the client's ready-made encapsulation.  0 on success. */
static __always_inline int encapsulate(struct packet *p, const struct encapsulation *by)
{
	__u32 length = by->length;

	if (length != 14 && length != 18 && length != 22)
		return -1;
	if (p->l3 != length && bpf_xdp_adjust_head(p->ctx, (int)p->l3 - (int)length))
		return -1;
	switch (length) {
	case 14:
		return put_header(p, by, 14);
	case 18:
		return put_header(p, by, 18);
	default:
		return put_header(p, by, 22);
	}
}

/* Send the packet to the client of `to`.  Errors and options are the kernel's work; what comes down
 * the host link has been through that already. */
static __always_inline int deliver_to(struct packet *p, const struct session *to)
{
	int routed = p->kind == PORT_HOST_LINK;
	struct iphdr *ip;

	if (!routed && (p->ttl <= 1 || p->options || p->total > to->mtu))
		return TO_KERNEL;
	if (p->total > to->mtu)
		return drop(p, DROP_TOO_BIG);
	if (bpf_redirect_map(&egress, to->encapsulation.port, XDP_DROP) != XDP_REDIRECT)
		return drop(p, DROP_NO_EGRESS);
	if (encapsulate(p, &to->encapsulation))
		return drop(p, DROP_ADJUST_HEAD);
	ip = at(p, p->l3, sizeof(*ip));
	if (!ip)
		return drop(p, DROP_TRUNCATED);
	if (!routed)
		decrement_ttl(ip);
	count_down(p, to);
	if (p->kind == PORT_SUBSCRIBER)
		count_up(p, p->session);
	return redirected(p, OUTCOME_TO_SUBSCRIBER);
}

/* The downstream end: to the client that host found.
 * Needs: session, IPv4.  Changes: the frame. */
static __always_inline int stage_deliver(struct packet *p)
{
	return deliver_to(p, p->session);
}
