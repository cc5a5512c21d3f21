/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* To the sender of a packet that is more than a PPPoE client's MTU: how much that is (RFC 1191 4).  The kernel knows
 * one MTU for a pool, and no client's.
 */
#ifndef WAYLEAVE_TOO_BIG_H
#define WAYLEAVE_TOO_BIG_H

#include "encapsulate.h"
#include "host_link.h"
#include "ip4.h"

#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO_REQUEST 8
#define ICMP_TOO_BIG bpf_htons(3 << 8 | 4)	/* unreachable: fragmentation needed */
#define QUOTED 548				/* octets of the packet: 576 in all (RFC 1812 4.3.2.3) */
#define QUOTED_FIRST 512			/* what bpf_csum_diff takes at once before kernel 6.13 */

struct too_big {
	struct iphdr ip;
	__be16 type;				/* and code */
	__u16 check;
	__be16 unused;
	__be16 mtu;
	__u8 quoted[QUOTED];
};

/* Whether it is PPPoE's to say, and not the kernel's: one MTU, that of PPPoE, the kernel can fragment to. */
static __always_inline int is_refused(const struct packet *p, const struct session *to)
{
	if (!to->encapsulation.pppoe || p->total <= to->mtu || p->ttl <= 1 || p->options)
		return 0;
	return p->fragment & IP4_WHOLE || to->mtu < PPPOE_MTU;
}

/* Whether its sender may be told (RFC 1812 4.3.2.7): one host, not of an error, and of fragments only by the first. */
static __always_inline int may_be_told(struct packet *p)
{
	const __u8 *type;

	if (p->fragment & IP4_OFFSET || ip4_in(p->from, 0, 0xff000000) || ip4_in(p->from, 0x7f000000, 0xff000000) ||
	    ip4_in(p->from, 0xe0000000, 0xe0000000))
		return 0;
	if (p->protocol != IPPROTO_ICMP)
		return 1;
	type = at(p, p->l4, 1);
	return type && (*type == ICMP_ECHO_REQUEST || *type == ICMP_ECHO_REPLY);
}

/* Put what stands before IP for the way back: to the client that sent it, else to the router. */
static __always_inline int turn_back(struct packet *p)
{
	struct ethhdr *eth;

	if (p->kind == PORT_SUBSCRIBER)
		return encapsulate(p, &p->session->encapsulation);
	eth = at(p, 0, sizeof(*eth));
	if (!eth)
		return -1;
	mac_store(eth->h_dest, p->source);
	mac_store(eth->h_source, mac_load(p->port->mac));
	eth->h_proto = bpf_htons(ETH_P_IP);
	return 0;
}

/* Make the packet the error about itself, and send it back out of the port that it came in by.  Policed as what goes to
 * the kernel for an answer. */
static __always_inline int refuse_too_big(struct packet *p, const struct session *to)
{
	__u32 number = tenant_of(p);
	const struct tenant *tenant = bpf_map_lookup_elem(&tenants, &number);
	__u16 total = sizeof(struct too_big);
	struct too_big *error;
	__s64 sum;

	if (!tenant || !tenant->address || p->total < QUOTED || !may_be_told(p))
		return drop(p, DROP_TOO_BIG);
	if (!conforms(p, POLICE_LINK_LINE, link_bucket(p)))
		return drop(p, DROP_LINK_POLICED);
	if (bpf_xdp_adjust_tail(p->ctx, (int)(p->l3 + QUOTED) - (int)frame_length(p)) ||
	    bpf_xdp_adjust_head(p->ctx, (int)p->l3 - (int)(ETH_HLEN + offsetof(struct too_big, quoted))))
		return drop(p, DROP_ADJUST_HEAD);
	p->l3 = ETH_HLEN;
	p->total = total;
	if (turn_back(p))
		return drop(p, DROP_ADJUST_HEAD);
	error = at(p, p->l3, sizeof(*error));
	if (!error)
		return drop(p, DROP_TRUNCATED);
	write_ip(&error->ip, IPPROTO_ICMP, total, tenant->address, p->from);
	error->type = ICMP_TOO_BIG;
	error->unused = 0;
	error->mtu = bpf_htons(to->mtu);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)error->quoted, QUOTED_FIRST, 0);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&error->quoted[QUOTED_FIRST], QUOTED - QUOTED_FIRST, sum);
	error->check = ~fold((__u64)(__u32)sum + ICMP_TOO_BIG + error->mtu);
	return answered(p);
}

#endif
