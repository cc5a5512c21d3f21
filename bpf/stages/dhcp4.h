/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#define stage_id_dhcp4 STAGE_DHCP4

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, REPLY_SLOTS);
	__type(key, __u32);
	__type(value, struct reply);
} replies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DHCP4_RESULT_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} dhcp4 SEC(".maps");

/* The standing reply of a session, or NULL. */
static __always_inline const struct reply *reply_of(const struct session *session)
{
	__u32 index;

	if (!session || !session->reply)
		return NULL;
	index = session->reply;
	return bpf_map_lookup_elem(&replies, &index);
}

static __always_inline void result_is(struct packet *p, enum dhcp4_result result)
{
	p->told_dhcp4 = result;
	count(p, &dhcp4, result);
}

static __always_inline int up(struct packet *p, enum dhcp4_result why)
{
	result_is(p, why);
	return NEXT;
}

/* Whether a UDP packet to port 67 is for the gateway: broadcast, or to one of its own addresses, of which
 * `reply` has the likeliest. */
static __always_inline int is_dhcp4(struct packet *p, const struct reply *reply)
{
	const struct session *row;
	const __be16 *udp;

	if (p->fragment & IP4_OFFSET)
		return 0;
	if (p->destination != MAC_BROADCAST && p->destination != mac_load(p->port->mac))
		return 0;
	if (p->l4 + UDP_LENGTH > p->l3 + p->total)
		return 0;
	udp = at(p, p->l4, UDP_LENGTH);
	if (!udp || udp[1] != DHCP4_SERVER_PORT)
		return 0;
	if (p->to == INADDR_BROADCAST || (reply && p->to == reply->server))
		return 1;
	row = host4(p, tenant_of(p), p->to);
	return row && row->flags & SESSION_LOCAL;
}

/* Whether what a row puts on what it sends is the way that the frame came: the tags, and the port's MAC, which
 * may have changed with its device.  VIDs are in the key; left are the TPIDs.  Tags with VID 0 count for
 * nothing. */
static __always_inline int leads_back(struct packet *p, const struct encapsulation *by)
{
	const struct vlan_tag *tag;
	__u32 offset, kept = 12;
	const __be16 *tpid;

	if (mac_load(&by->header[6]) != mac_load(p->port->mac))
		return 0;
#pragma unroll
	for (offset = 12; offset < 20; offset += 4) {
		if (offset + 2 == p->l3)
			break;
		tpid = at(p, offset, sizeof(*tpid) + sizeof(*tag));
		if (!tpid)
			return 0;
		tag = (const struct vlan_tag *)(tpid + 1);
		if (!(tag->tci & bpf_htons(0xfff)))
			continue;
		if (*(const __be16 *)&by->header[kept] != *tpid)
			return 0;
		kept += 4;
	}
	return kept + 2 == by->length;
}

/* Copy the datagram out of the frame and see that it came whole (RFC 1122 3.2.1.2, 4.1.3.4).
 * Its octets, or 0: Python shall look at it. */
static __always_inline __u32 read_datagram(struct packet *p, struct request *request)
{
	const struct iphdr *ip = at(p, p->l3, sizeof(*ip));
	const __be16 *udp = at(p, p->l4, UDP_LENGTH);
	__u64 length, first, sum;

	if (!ip || !udp || p->options || fold(sum_ip4(ip)) != 0xffff)
		return 0;
	length = bpf_ntohs(udp[2]);
	if (length < OPTIONS_AT || length > DATAGRAM_MAX || length != p->total - sizeof(*ip))
		return 0;
	length = within(length, OPTIONS_AT, DATAGRAM_MAX);
	if (bpf_xdp_load_bytes(p->ctx, p->l4, request->datagram, length))
		return 0;
	*(__u64 *)&request->datagram[length] = 0;
	if (!*(const __be16 *)&request->datagram[6])
		return length;
	first = length < SUM_MAX ? (length + 3) & ~3ULL : SUM_MAX;
	sum = sum_pseudo(p->from, p->to, length);
	sum += (__u32)bpf_csum_diff(NULL, 0, (__be32 *)request->datagram, first, 0);
	if (length > SUM_MAX) {
		first = (length - SUM_MAX + 3) & ~3ULL;
		sum += (__u32)bpf_csum_diff(NULL, 0, (__be32 *)&request->datagram[SUM_MAX], first & DATAGRAM_MASK, 0);
	}
	return fold(sum) == 0xffff ? length : 0;
}

/* Whether the message says of itself what the frame says of it. */
static __always_inline int is_from_client(struct packet *p, const struct bootp *asked)
{
	return asked->op == BOOTREQUEST && asked->hlen == 6 && asked->cookie == DHCP4_COOKIE && !asked->giaddr &&
	       mac_load(asked->chaddr) == p->source;
}

/* Whether an option 82, if there is one, is what Python last accepted from this client.  Where it accepted
 * none, none is believed, whatever its digest. */
static __always_inline int is_agent_known(const struct session *session, const struct request *request)
{
	if (!request->places[ASKED_AGENT].at)
		return 1;
	return session->agent && digest_agent(request) == session->agent;
}

/* Which of the server's rules apply (RFC 2131 4.3.1, 4.3.2, table 4). */
static __always_inline enum dhcp4_result judge(struct packet *p, const struct request *request,
					       const struct bootp *asked, const struct reply *reply)
{
	be32 address = p->session->address;
	be32 wanted = address_option(request, ASKED_ADDRESS, address);

	switch (type_option(request)) {
	case DHCP4_DISCOVER:
		return asked->ciaddr ? DHCP4_UP_ADDRESS : DHCP4_OFFERED;
	case DHCP4_REQUEST:
		break;
	default:
		return DHCP4_UP_TYPE;
	}
	if (wanted != address)
		return DHCP4_UP_ADDRESS;
	if (request->places[ASKED_SERVER].at) {			/* SELECTING */
		if (address_option(request, ASKED_SERVER, 0) != reply->server)
			return DHCP4_UP_SERVER;
		if (asked->ciaddr || !request->places[ASKED_ADDRESS].at)
			return DHCP4_UP_ADDRESS;
	} else if (asked->ciaddr) {				/* RENEWING, REBINDING */
		if (asked->ciaddr != address)
			return DHCP4_UP_ADDRESS;
	} else if (!request->places[ASKED_ADDRESS].at) {	/* INIT-REBOOT needs it */
		return DHCP4_UP_ADDRESS;
	}
	if (p->session->promise_until - now(p) < reply->lease_ns)
		return DHCP4_UP_PROMISE;
	return DHCP4_ACKED;
}

/* The end of the answer's options, behind the reply's own: 61 and 82 as they came (RFC 6842 3, RFC 3046
 * 2.2), the end, zeros.  Its octets, the zeros apart, or 0. */
static __always_inline __u32 collect_echo(struct packet *p, struct request *request)
{
	const struct place *client = &request->places[ASKED_CLIENT], *agent = &request->places[ASKED_AGENT];
	__u64 *words = (__u64 *)request->echo;
	__u64 length = 0, more;
	int i;

#pragma unroll
	for (i = 0; i < PADDED / 8 + 1; i++)
		words[i] = 0;
	if (client->at) {
		length = (client->length & 0xff) + 2;
		if (bpf_xdp_load_bytes(p->ctx, p->l4 + client->at - 2, request->echo, length))
			return 0;
	}
	if (agent->at) {
		more = (agent->length & 0xff) + 2;
		if (bpf_xdp_load_bytes(p->ctx, p->l4 + agent->at - 2, &request->echo[length & 0x1ff], more))
			return 0;
		length += more;
	}
	length &= 0x3ff;
	if (length > ECHO_MAX - 16)
		return 0;
	request->echo[length] = 255;
	__builtin_memset(&request->echo[length + 1], 0, 8);
	return length + 1;
}

/* IPv4, UDP and BOOTP of an answer: all but the options. */
struct reply_head {
	struct iphdr ip;
	__be16 udp[4];
	struct bootp bootp;
};

/* Put the reply's options into the frame, and `rest` octets of echo behind them.  0 on success. */
static __always_inline int put_options(struct packet *p, struct request *request, const struct reply *reply,
				       __u64 options, __u64 rest)
{
	__u32 offset = p->l3 + sizeof(struct reply_head);

	if (bpf_xdp_store_bytes(p->ctx, offset, (void *)reply->options, within(options, 1, REPLY_OPTIONS_MAX)))
		return -1;
	return bpf_xdp_store_bytes(p->ctx, offset + options, request->echo, within(rest, 1, ECHO_MAX));
}

/* Where an answer goes, from RFC 2131 4.1: to the client's address if it has one, else by broadcast if it
 * asks for that, else to the address that it is being given. */
struct towards {
	__u64 mac;
	be32 address;
};

static __always_inline struct towards destination(struct packet *p, const struct bootp *asked)
{
	struct towards to = { .mac = p->source, .address = p->session->address };

	if (!asked->ciaddr && asked->flags & DHCP4_BROADCAST) {
		to.mac = MAC_BROADCAST;
		to.address = INADDR_BROADCAST;
	}
	return to;
}

/* Make the request's header, which still stands there, the answer's: RFC 2131 table 3.  xid, flags, ciaddr
 * and chaddr stay.  Returns the sum of its words. */
static __always_inline __u64 write_bootp(struct bootp *bootp, const struct bootp *asked, be32 address)
{
	const __u32 *words = (const __u32 *)asked;
	__u32 first = bpf_htonl(BOOTREPLY << 24 | asked->htype << 16 | asked->hlen << 8);
	__u32 flags = words[2] & bpf_htonl(0xffff);
	__u8 *octets = (__u8 *)bootp;
	__u32 i;

	*(__u32 *)&octets[0] = first;		/* no hops */
	*(__u32 *)&octets[8] = flags;		/* no seconds */
	bootp->yiaddr = address;
	bootp->siaddr = 0;
	*(__u16 *)&octets[34] = 0;		/* behind the MAC: the rest of chaddr, sname, file */
	*(__u32 *)&octets[36] = 0;
#pragma unroll
	for (i = 40; i < 232; i += 8)
		*(__u64 *)&octets[i] = 0;
	*(__u32 *)&octets[232] = 0;
	return (__u64)first + asked->xid + flags + asked->ciaddr + address + words[7] +
	       (words[8] & bpf_htonl(0xffff0000)) + asked->cookie;
}

/* Turn the request into the answer and send it back.  Nothing is rewritten before all that can fail has
 * been done; a frame that cannot grow goes up. */
static __always_inline int answer(struct packet *p, struct request *request, const struct reply *reply,
				  enum dhcp4_result result)
{
	const struct bootp *asked = (const struct bootp *)&request->datagram[UDP_LENGTH];
	const struct encapsulation *by = &p->session->encapsulation;
	struct towards to = destination(p, asked);
	__u64 options = reply->length, rest, echo;
	__u16 length;
	struct reply_head *head;
	struct usage *counters;
	struct ethhdr *eth;
	__u64 sum;
	__u8 type = DHCP4_OFFER;

	if (to.mac == MAC_BROADCAST && !conforms(p, POLICE_CLIENT, client_bucket(p)))
		return up(p, DHCP4_UP_RATE);	/* others on the VLAN may hear it */
	echo = collect_echo(p, request);
	if (!echo || echo > SUM_MAX || !options || options > REPLY_OPTIONS_MAX || options + echo - 1 > reply->room)
		return up(p, DHCP4_UP_ROOM);
	rest = options + echo < PADDED ? PADDED - options : echo;
	sum = (__u32)bpf_csum_diff(NULL, 0, (__be32 *)request->echo, (echo + 3) & 0x3fc, 0);
	sum = (options & 1 ? odd(sum) : sum) + reply->sum;
	if (result == DHCP4_OFFERED)
		sum += 0xffff - (DHCP4_ACK - DHCP4_OFFER);	/* the type stands at an even place */
	length = UDP_LENGTH + sizeof(*asked) + options + rest;
	if (bpf_xdp_adjust_tail(p->ctx, (int)(p->l4 + length) - (int)frame_length(p)))
		return up(p, DHCP4_UP_ROOM);
	if (encapsulate(p, by))
		return drop(p, DROP_ADJUST_HEAD);
	eth = at(p, 0, sizeof(*eth));
	head = at(p, p->l3, sizeof(*head));
	if (!eth || !head)
		return drop(p, DROP_TRUNCATED);
	mac_store(eth->h_dest, to.mac);
	write_ip(&head->ip, IPPROTO_UDP, sizeof(head->ip) + length, reply->server, to.address);
	head->udp[0] = DHCP4_SERVER_PORT;
	head->udp[1] = DHCP4_CLIENT_PORT;
	head->udp[2] = bpf_htons(length);
	sum += write_bootp(&head->bootp, asked, p->session->address) + sum_pseudo(reply->server, to.address, length);
	sum = fold(sum + DHCP4_SERVER_PORT + DHCP4_CLIENT_PORT + bpf_htons(length));
	head->udp[3] = sum == 0xffff ? 0xffff : ~sum;
	if (put_options(p, request, reply, options, rest))
		return drop(p, DROP_TRUNCATED);
	if (result == DHCP4_OFFERED && bpf_xdp_store_bytes(p->ctx, p->l3 + sizeof(*head) + 2, &type, 1))
		return drop(p, DROP_TRUNCATED);
	counters = p->dry ? NULL : usage_of(p->session);
	if (counters && result == DHCP4_ACKED)
		counters->up.renewed = now(p);
	result_is(p, result);
	return answered(p);
}

/* Answer a client's DHCP as the server in Python would, or leave it as it came.
 * Needs: port, session, destination, source, l3, l4, IPv4.  Changes: control; the frame, when it answers;
 * usage.up.renewed. */
static __always_inline int stage_dhcp4(struct packet *p)
{
	const struct session *session = p->session;
	const struct reply *reply;
	struct request *request;
	enum dhcp4_result result;
	__u32 zero = 0, length;

	if (p->protocol != IPPROTO_UDP || p->pppoe)	/* protocol 0: not IPv4; PPP has IPCP */
		return NEXT;
	reply = reply_of(session);
	if (!is_dhcp4(p, reply))
		return NEXT;
	p->control = CONTROL_DHCP4;
	if (p->fragment & IP4_FRAGMENT)
		return NEXT;
	if (!session)
		return up(p, DHCP4_UP_NEW);
	if (session->promise_until <= now(p))
		return up(p, DHCP4_UP_PROMISE);
	request = bpf_map_lookup_elem(&request_in_hand, &zero);
	if (!reply || !request)
		return up(p, DHCP4_UP_NO_REPLY);
	if (!leads_back(p, &session->encapsulation))
		return up(p, DHCP4_UP_FRAME);
	length = read_datagram(p, request);
	if (!length)
		return up(p, DHCP4_UP_FRAME);
	if (!is_from_client(p, (const struct bootp *)&request->datagram[UDP_LENGTH]))
		return up(p, DHCP4_UP_HEADER);
	if (find_options(request, length) || !are_sound(request))
		return up(p, DHCP4_UP_OPTIONS);
	result = judge(p, request, (const struct bootp *)&request->datagram[UDP_LENGTH], reply);
	if (result > DHCP4_ACKED)
		return up(p, result);
	if (digest_form(request) != session->form)
		return up(p, DHCP4_UP_FORM);
	if (!is_agent_known(session, request))
		return up(p, DHCP4_UP_AGENT);
	return answer(p, request, reply, result);
}
