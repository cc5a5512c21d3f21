/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TCP's maximum segment size, brought down in SYNs to what a client's MTU has room for: many a network between it and
 * the other end drops the ICMP that would say so (RFC 2923 2.1).
 */
#define stage_id_mss STAGE_MSS

#define TCP_LENGTH 20				/* of a header without options */
#define TCP_OFFSET_AT 12			/* where the octets are that hold the header's length, */
#define TCP_FLAGS_AT 13
#define TCP_CHECK_AT 16
#define TCP_SYN 0x02
#define TCP_OPTIONS_MAX 40			/* octets, and so options */
#define TCP_OPTION_END 0
#define TCP_OPTION_PAD 1
#define TCP_OPTION_MSS 2
#define TCP_OPTION_MSS_LENGTH 4

/* Where the option lies in a frame whose TCP options are its octets [place, end), or 0. */
static __always_inline __u32 find_mss(const struct packet *p, __u32 place, __u32 end)
{
	const __u8 *option;
	__u32 i;

	for (i = 0; i < TCP_OPTIONS_MAX && place + TCP_OPTION_MSS_LENGTH <= end; i++) {
		option = at(p, place, 2);
		if (!option || option[0] == TCP_OPTION_END)
			return 0;
		if (option[0] == TCP_OPTION_PAD) {
			place++;
			continue;
		}
		if (option[0] == TCP_OPTION_MSS)
			return option[1] == TCP_OPTION_MSS_LENGTH ? place : 0;
		if (option[1] < 2)
			return 0;
		place += option[1];
	}
	return 0;
}

/* Bring the size in a TCP header, the octets [tcp, end) of the frame, down to `most`; the checksum follows (RFC 1624 3).
 * The option may begin at an odd place: then its octets are those of two words of the sum, the other way round.
 * A global function: the verifier looks at its loop once, whoever calls. */
__noinline int lower_mss(struct xdp_md *ctx, __u32 tcp, __u32 end, __u32 most)
{
	struct packet frame = { .ctx = ctx };
	__u32 place = find_mss(&frame, tcp + TCP_LENGTH, end);
	__u16 *check = at(&frame, tcp + TCP_CHECK_AT, sizeof(*check));
	__u16 *size = at(&frame, place + 2, sizeof(*size));
	__u16 before, after = bpf_htons(most);

	if (!place || !check || !size || bpf_ntohs(*size) <= most)
		return 0;
	before = *size;
	*size = after;
	if ((place - tcp) & 1) {
		before = __builtin_bswap16(before);
		after = __builtin_bswap16(after);
	}
	*check = ~fold((__u64)(__u16)~*check + (__u16)~before + after);
	return 0;
}

static __always_inline void clamp_mss(struct packet *p, const struct session *session)
{
	const __u8 *tcp;
	__u32 length;

	if (!(session->flags & SESSION_CLAMP_MSS) || p->protocol != IPPROTO_TCP || p->fragment & IP4_OFFSET)
		return;
	tcp = at(p, p->l4, TCP_LENGTH);
	if (!tcp || !(tcp[TCP_FLAGS_AT] & TCP_SYN))
		return;
	length = (tcp[TCP_OFFSET_AT] >> 4) * 4;
	if (p->l4 + length <= p->l3 + p->total)
		lower_mss(p->ctx, p->l4, p->l4 + length, session->mtu - sizeof(struct iphdr) - TCP_LENGTH);
}

/* Clamp what the client says it takes; what it is told, deliver_to() sees to.
 * Needs: session, IPv4.  Changes: TCP's options and checksum. */
static __always_inline int stage_mss(struct packet *p)
{
	clamp_mss(p, p->session);
	return NEXT;
}
