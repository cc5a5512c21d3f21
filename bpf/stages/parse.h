/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#define stage_id_parse STAGE_PARSE

static __always_inline int is_tpid(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/* Step over one tag, if one is there; its VID joins the key unless it is 0.
 * Returns 0, or -1 if the tag is cut off. */
static __always_inline int parse_tag(struct packet *p)
{
	const struct vlan_tag *tag;
	__u16 vid;

	if (!is_tpid(p->type))
		return 0;
	tag = at(p, p->l3, sizeof(*tag));
	if (!tag)
		return -1;
	vid = bpf_ntohs(tag->tci) & 0xfff;
	if (!p->svid)
		p->svid = vid;
	else
		p->cvid = vid;
	p->type = tag->type;
	p->l3 += sizeof(*tag);
	return 0;
}

/* RFC 2516 5.  What stands behind the header Python reads. */
static __always_inline int parse_discovery(struct packet *p, __u64 room)
{
	const struct pppoe *head = at(p, p->l3, PPPOE_LENGTH);

	if (!head)
		return drop(p, DROP_TRUNCATED);
	if (head->version_type != PPPOE_VERSION_TYPE || bpf_ntohs(head->length) > room - PPPOE_LENGTH)
		return drop(p, DROP_MALFORMED_PPPOE);
	p->pppoe = bpf_ntohs(head->session);
	p->control = CONTROL_DISCOVERY;
	return NEXT;
}

/* Step over PPPoE and PPP, to IPv4 in `room` octets; not over them where they control the session. */
static __always_inline int parse_pppoe(struct packet *p, __u64 *room)
{
	const struct pppoe *head = at(p, p->l3, sizeof(*head));
	__u64 length;

	if (!head)
		return drop(p, DROP_TRUNCATED);
	length = bpf_ntohs(head->length);
	if (head->version_type != PPPOE_VERSION_TYPE || head->code || !head->session || length < PPP_LENGTH ||
	    length > *room - PPPOE_LENGTH)
		return drop(p, DROP_MALFORMED_PPPOE);
	p->pppoe = bpf_ntohs(head->session);
	if (head->protocol != PPP_IPV4) {
		if (bpf_ntohs(head->protocol) <= PPP_DATA_LAST)
			return drop(p, DROP_PPP_PROTOCOL);
		p->control = CONTROL_PPP;
		return NEXT;
	}
	p->l3 += sizeof(*head);
	*room = length - PPP_LENGTH;
	return NEXT;
}

/* RFC 791 3.1.  There may be more than the packet in the `room` that it has: Ethernet pads, and so may PPP. */
static __always_inline int parse_ip4(struct packet *p, __u64 room)
{
	const struct iphdr *ip = at(p, p->l3, sizeof(*ip));
	__u32 header;

	if (!ip)
		return drop(p, DROP_TRUNCATED);
	header = ip->ihl * 4;
	p->total = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || header < sizeof(*ip) || p->total < header || p->total > room)
		return drop(p, DROP_MALFORMED_IPV4);
	p->l4 = p->l3 + header;
	p->options = header > sizeof(*ip);
	p->fragment = ip->frag_off;
	p->tos = ip->tos;
	p->ttl = ip->ttl;
	p->protocol = ip->protocol;
	p->from = ip->saddr;
	p->to = ip->daddr;
	return NEXT;
}

/* Read Ethernet, up to two tags, PPPoE where a port serves it, and IPv4.  What a port does not speak ends here: on network ports
 * it is the kernel's, VLANs among it.
 * Needs: port.  Changes: destination, source, svid, cvid, pppoe, type, l3, l4, control, the fields of IPv4. */
static __always_inline int stage_parse(struct packet *p)
{
	const struct ethhdr *eth = at(p, 0, sizeof(*eth));
	__u64 room;
	int verdict;

	if (!eth)
		return drop(p, DROP_TRUNCATED);
	p->destination = mac_load(eth->h_dest);
	p->source = mac_load(eth->h_source);
	p->type = eth->h_proto;
	p->l3 = sizeof(*eth);
	if (!p->source || mac_is_group(p->source))
		return drop(p, DROP_SOURCE_MAC);
	if (p->kind == PORT_NETWORK && p->type != bpf_htons(ETH_P_IP))
		return passed(p);
	if (p->kind == PORT_HOST_LINK && p->type != bpf_htons(ETH_P_IP))
		return drop(p, DROP_LINK_NOISE);
	if (p->kind == PORT_SUBSCRIBER) {
		if (parse_tag(p) || parse_tag(p))
			return drop(p, DROP_TRUNCATED);
		if (is_tpid(p->type))
			return drop(p, DROP_TOO_MANY_TAGS);
		if (p->type == bpf_htons(ETH_P_ARP))
			return NEXT;
	}
	room = frame_length(p) - p->l3;
	if (p->type != bpf_htons(ETH_P_IP)) {
		if (p->type != bpf_htons(ETH_P_PPP_DISC) && p->type != bpf_htons(ETH_P_PPP_SES))
			return drop(p, DROP_ETHERTYPE);
		if (!p->port->pppoe)
			return drop(p, DROP_PPPOE_NOT_SERVED);
		if (p->type == bpf_htons(ETH_P_PPP_DISC))
			return parse_discovery(p, room);
		verdict = parse_pppoe(p, &room);
		if (verdict != NEXT || p->control)
			return verdict;
	}
	return parse_ip4(p, room);
}
