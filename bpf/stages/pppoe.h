/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#define stage_id_pppoe STAGE_PPPOE

#define LCP_ECHO_REQUEST 9
#define LCP_ECHO_REPLY 10
#define LCP_ECHO_LENGTH 8			/* the least that an echo has */

/* RFC 1661 5.8, behind PPPoE; what the peer wants to see again follows. */
struct echo {
	struct pppoe pppoe;
	__u8 code;
	__u8 identifier;
	__be16 length;
	__be16 magic[2];
};

/* Whether it is an echo request that the row has the answer to.  One with our own magic number comes from a loop,
 * and Python wants to know. */
static __always_inline int is_answerable(struct packet *p, const struct echo *echo)
{
	const struct session *session = p->session;
	__u32 magic, length = bpf_ntohs(echo->length);

	if (!session || session->promise_until <= now(p))
		return 0;
	magic = *(const __u32 *)session->encapsulation.magic;
	if (!magic || magic == *(const __u32 *)echo->magic)
		return 0;
	return echo->pppoe.protocol == PPP_LCP && echo->code == LCP_ECHO_REQUEST && length >= LCP_ECHO_LENGTH &&
	       length <= session->mtu && length + PPP_LENGTH == bpf_ntohs(echo->pppoe.length);
}

/* See that PPPoE's control packets are for the gateway, and answer echo requests in place, tags and all (RFC 1661 5.8);
 * a client that asks lives, but is not active: that is who sends packets.
 * Needs: port, session, destination, source, control, l3.  Changes: the frame, when it answers; usage.up.renewed. */
static __always_inline int stage_pppoe(struct packet *p)
{
	struct usage *counters;
	struct ethhdr *eth;
	struct echo *echo;
	__u64 ours;

	if (p->control <= CONTROL_DHCP4)
		return NEXT;
	ours = mac_load(p->port->mac);
	if (p->destination != ours && (p->control != CONTROL_DISCOVERY || p->destination != MAC_BROADCAST))
		return drop(p, DROP_NOT_FOR_GATEWAY);
	if (p->control != CONTROL_PPP)
		return NEXT;
	eth = at(p, 0, sizeof(*eth));
	echo = at(p, p->l3, sizeof(*echo));
	if (!eth || !echo || !is_answerable(p, echo))
		return NEXT;
	mac_store(eth->h_dest, p->source);
	mac_store(eth->h_source, ours);
	echo->code = LCP_ECHO_REPLY;
	*(__u32 *)echo->magic = *(const __u32 *)p->session->encapsulation.magic;
	counters = p->dry ? NULL : usage_of(p->session);
	if (counters)
		counters->up.renewed = now(p);
	return answered(p);
}
