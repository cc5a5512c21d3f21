/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Up the tenant's host link: what the local kernel has to answer, resolve or own. */
#ifndef WAYLEAVE_HOST_LINK_H
#define WAYLEAVE_HOST_LINK_H

#include "police.h"
#include "verdict.h"

/* Take away tags, PPPoE and PPP; the frame begins with 14 octets to be filled in.  0 on success. */
static __always_inline int strip(struct packet *p)
{
	if (p->l3 != ETH_HLEN && bpf_xdp_adjust_head(p->ctx, (int)p->l3 - ETH_HLEN))
		return -1;
	p->l3 = ETH_HLEN;
	return 0;
}

/* The one who would use up the link: a line, in shared VLANs a client; on network ports a source address. */
static __always_inline __u32 link_bucket(const struct packet *p)
{
	if (p->kind == PORT_SUBSCRIBER)
		return hashed_bucket(BUCKETS_LINK_LINE, line_word(p), p->port->shared ? p->source : 0);
	return hashed_bucket(BUCKETS_LINK_LINE, ~(__u64)p->port->number, p->from);
}

/* Redirect the packet to the kernel's end of the link: untagged, TTL as it came. */
static __always_inline int up_host_link(struct packet *p)
{
	__u32 number = tenant_of(p);
	const struct tenant *tenant = bpf_map_lookup_elem(&tenants, &number);
	struct ethhdr *eth;

	if (!tenant || !tenant->link)
		return drop(p, DROP_NO_LINK);
	if (!conforms(p, POLICE_LINK_LINE, link_bucket(p)))
		return drop(p, DROP_LINK_POLICED);
	if (!conforms(p, POLICE_LINK, POLICE_LINK))
		return drop(p, DROP_LINK_POLICED);
	if (leave_by(p, tenant->link))
		return drop(p, DROP_NO_LINK);
	if (strip(p))
		return drop(p, DROP_ADJUST_HEAD);
	eth = at(p, 0, sizeof(*eth));
	if (!eth)
		return drop(p, DROP_TRUNCATED);
	mac_store(eth->h_dest, mac_load(tenant->link_kernel));
	mac_store(eth->h_source, mac_load(tenant->link_ours));
	eth->h_proto = bpf_htons(ETH_P_IP);
	if (p->kind == PORT_SUBSCRIBER && p->session)
		count_up(p, p->session);
	return redirected(p, OUTCOME_TO_HOST);
}

#endif
