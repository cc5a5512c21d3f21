/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#define stage_id_arp STAGE_ARP

#define ARP_ETHERNET bpf_htons(1)
#define ARP_REQUEST bpf_htons(1)
#define ARP_REPLY bpf_htons(2)
#define ARP_LENGTHS bpf_htons(0x0604)		/* of a MAC and of an IPv4 address */

/* RFC 826, Ethernet and IPv4. */
struct arp {
	__be16 hardware;
	__be16 protocol;
	__be16 lengths;
	__be16 operation;
	mac_addr sender_mac;
	__be16 sender[2];
	mac_addr target_mac;
	__be16 target[2];
};

static __always_inline be32 arp_address(const __be16 *words)
{
	return *(const be32 *)words;
}

/* Whether the gateway speaks for `target`: its own addresses, and everything in the client's subnet,
 * since customers reach each other through the gateway. */
static __always_inline int arp_is_ours(struct packet *p, be32 target)
{
	const struct session *session = p->session, *row;

	if (!((target ^ session->address) & session->netmask))
		return 1;
	row = host4(p, session->tenant, target);
	return row && row->flags & SESSION_LOCAL;
}

static __always_inline int arp_answer(struct packet *p, struct arp *arp)
{
	__u64 ours = mac_load(p->port->mac);
	struct ethhdr *eth = at(p, 0, sizeof(*eth));
	be32 asked = arp_address(arp->target);

	if (!eth)
		return drop(p, DROP_TRUNCATED);
	mac_store(eth->h_dest, p->source);
	mac_store(eth->h_source, ours);
	arp->operation = ARP_REPLY;
	mac_store(arp->target_mac, p->source);
	*(be32 *)arp->target = arp_address(arp->sender);
	mac_store(arp->sender_mac, ours);
	*(be32 *)arp->sender = asked;
	return answered(p);
}

/* Answer ARP requests of clients in place, tags and all.  The asker's own address is never answered:
 * a client that probes for its new lease would decline it (RFC 5227 2.1.1).
 * Needs: port, session, destination, source, type, l3.  Changes: the frame, when it answers. */
static __always_inline int stage_arp(struct packet *p)
{
	struct arp *arp;

	if (p->type != bpf_htons(ETH_P_ARP))
		return NEXT;
	if (p->destination != MAC_BROADCAST && p->destination != mac_load(p->port->mac))
		return drop(p, DROP_NOT_FOR_GATEWAY);
	arp = at(p, p->l3, sizeof(*arp));
	if (!arp)
		return drop(p, DROP_TRUNCATED);
	if (arp->hardware != ARP_ETHERNET || arp->protocol != bpf_htons(ETH_P_IP) || arp->lengths != ARP_LENGTHS)
		return drop(p, DROP_MALFORMED_ARP);
	if (arp->operation != ARP_REQUEST)
		return drop(p, DROP_ARP_ELSEWHERE);
	if (!p->session)
		return drop(p, p->stale ? DROP_STALE_KEY : DROP_NO_SESSION);
	if (p->session->promise_until <= now(p))
		return drop(p, DROP_PROMISE_PAST);
	if (mac_load(arp->sender_mac) != p->source)
		return drop(p, DROP_SPOOFED_ARP);
	if (arp_address(arp->sender) && arp_address(arp->sender) != p->session->address)
		return drop(p, DROP_SPOOFED_ARP);
	if (arp_address(arp->target) == p->session->address)
		return drop(p, DROP_ARP_OWN);
	if (!arp_is_ours(p, arp_address(arp->target)))
		return drop(p, DROP_ARP_ELSEWHERE);
	return arp_answer(p, arp);
}
