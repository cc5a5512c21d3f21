/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#define stage_id_deliver STAGE_DELIVER

/* Send the packet to the client of `to`.  Errors and options are the kernel's work, all but one; what comes down
 * the host link has been through that already. */
static __always_inline int deliver_to(struct packet *p, const struct session *to)
{
	int routed = p->kind == PORT_HOST_LINK;
	struct iphdr *ip;

	if (!routed && (p->ttl <= 1 || p->options || p->total > to->mtu))
		return is_refused(p, to) ? refuse_too_big(p, to) : TO_KERNEL;
	if (p->total > to->mtu)
		return drop(p, DROP_TOO_BIG);
	p->told_to = to;
	if (is_over(p, to, METER_DOWN))
		return drop(p, DROP_METERED_DOWN);
	if (leave_by(p, to->encapsulation.port))
		return drop(p, DROP_NO_EGRESS);
	clamp_mss(p, to);
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
