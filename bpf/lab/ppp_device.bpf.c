/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The lab's PPP device: what a kernel with PPP does to the packets of one PPPoE session, of either side.
 *
 * ppp0 is one end of a veth; its packets come out at the other end behind an Ethernet header that means nothing.
 * `wrap` sits there: the session's headers in that one's place, and out by the cable.  `unwrap` sits at the device with
 * the cable: the session's IPv4 and IPv6 go to ppp0, all else up to whoever negotiates on a packet socket.
 *
 * XDP and no TC program: bpf_skb_adjust_room refuses to take PPPoE off (ENOTSUPP), since it knows IP alone.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "at.h"

#define PPPOE_VERSION_TYPE 0x11
#define PPP_IPV4 bpf_htons(0x0021)
#define PPP_IPV6 bpf_htons(0x0057)

/* RFC 2516 4, and RFC 1661 2 for the protocol. */
struct pppoe {
	__u8 version_type;
	__u8 code;
	__be16 id;
	__be16 length;           /* of what follows, the protocol among it */
	__be16 protocol;
};

#define PPPOE_LENGTH offsetof(struct pppoe, protocol)

struct wrapped {
	struct ethhdr eth;
	struct pppoe pppoe;
};

/* Written while ppp0 has no address, so that no packet meets half of it. */
struct session {
	__u32 cable;             /* ifindex */
	__u32 inside;            /* ifindex of ppp0's other end */
	__u8 own[ETH_ALEN];
	__u8 peer[ETH_ALEN];
	__be16 id;               /* 0: there is none */
	__u16 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct session);
} sessions SEC(".maps");

static __always_inline struct session *this_session(void)
{
	__u32 zero = 0;
	struct session *session = bpf_map_lookup_elem(&sessions, &zero);

	return session && session->id ? session : NULL;
}

static __always_inline int is_mac(const __u8 *one, const __u8 *other)
{
	const __u16 *a = (const __u16 *)one, *b = (const __u16 *)other;

	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

/* On ppp0's other end. */
SEC("xdp")
int wrap(struct xdp_md *ctx)
{
	__u64 length = bpf_xdp_get_buff_len(ctx);
	struct session *session = this_session();
	struct ethhdr *eth = at(ctx, 0, sizeof(*eth));
	struct wrapped *wrapped;
	__be16 protocol;

	if (!session || !eth)
		return XDP_DROP;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		protocol = PPP_IPV4;
	else if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		protocol = PPP_IPV6;
	else
		return XDP_DROP;
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(struct pppoe)))
		return XDP_DROP;
	wrapped = at(ctx, 0, sizeof(*wrapped));
	if (!wrapped)
		return XDP_DROP;
	__builtin_memcpy(wrapped->eth.h_dest, session->peer, ETH_ALEN);
	__builtin_memcpy(wrapped->eth.h_source, session->own, ETH_ALEN);
	wrapped->eth.h_proto = bpf_htons(ETH_P_PPP_SES);
	wrapped->pppoe.version_type = PPPOE_VERSION_TYPE;
	wrapped->pppoe.code = 0;
	wrapped->pppoe.id = session->id;
	wrapped->pppoe.length = bpf_htons(length - sizeof(*eth) + sizeof(protocol));
	wrapped->pppoe.protocol = protocol;
	return bpf_redirect(session->cable, 0);
}

/* On the device with the cable.  What the length does not count is padding, and is cut off. */
SEC("xdp")
int unwrap(struct xdp_md *ctx)
{
	int surplus = bpf_xdp_get_buff_len(ctx) - sizeof(struct ethhdr) - PPPOE_LENGTH;
	struct wrapped *wrapped = at(ctx, 0, sizeof(*wrapped));
	struct session *session = this_session();
	struct ethhdr eth, *bare;

	if (!session || !wrapped || wrapped->eth.h_proto != bpf_htons(ETH_P_PPP_SES) ||
	    !is_mac(wrapped->eth.h_dest, session->own) || !is_mac(wrapped->eth.h_source, session->peer) ||
	    wrapped->pppoe.version_type != PPPOE_VERSION_TYPE || wrapped->pppoe.code || wrapped->pppoe.id != session->id)
		return XDP_PASS;
	__builtin_memcpy(&eth, &wrapped->eth, sizeof(eth));
	if (wrapped->pppoe.protocol == PPP_IPV4)
		eth.h_proto = bpf_htons(ETH_P_IP);
	else if (wrapped->pppoe.protocol == PPP_IPV6)
		eth.h_proto = bpf_htons(ETH_P_IPV6);
	else
		return XDP_PASS;
	surplus -= bpf_ntohs(wrapped->pppoe.length);
	if (surplus < 0 || bpf_ntohs(wrapped->pppoe.length) < sizeof(wrapped->pppoe.protocol))
		return XDP_PASS;
	if ((surplus && bpf_xdp_adjust_tail(ctx, -surplus)) || bpf_xdp_adjust_head(ctx, sizeof(struct pppoe)))
		return XDP_DROP;
	bare = at(ctx, 0, sizeof(*bare));
	if (!bare)
		return XDP_DROP;
	__builtin_memcpy(bare, &eth, sizeof(eth));
	return bpf_redirect(session->inside, 0);
}

/* On ppp0: a veth that receives redirected frames must run NAPI, and one with a program does. */
SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
