// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Traffic for the benchmarks: packets of many subscribers, written where they are needed.
 *
 * Every run writes all headers anew, since neither BPF_PROG_TEST_RUN nor its live frames restore a
 * packet between repeats.  *_repeat then calls the program under test, *_live sends the packet out
 * of the device it is said to have come in by.  tests/bench/population.py holds the same formulas.
 */
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define CLIENT 0x02aa00000000ULL		/* MAC, plus the subscriber's number */
#define VIDS_LOG2 11				/* C-VIDs an S-VID */
#define FIRST_ADDRESS 0x0a400100		/* 10.64.1.0 */
#define FIRST_PPPOE 1				/* session-id, plus the number's lower bits */
#define PPPOE_MASK 0x3fff
#define FIRST_REMOTE 0xc6120000			/* 198.18.0.0/15, RFC 2544 */
#define PAYLOAD 18				/* a frame of 60 octets before its tags */

struct plan {
	__u64 state;				/* of the pseudo-random numbers */
	__u32 subscribers;			/* how many take part */
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct plan);
} plan SEC(".maps");

/* 0: the program under test. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} under_test SEC(".maps");

/* 0: what has reached `sink`. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} arrived SEC(".maps");

/* 0: the device `bare_redirect` sends to. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} other_port SEC(".maps");

struct datagram {
	struct iphdr ip;
	struct udphdr udp;
	__u8 payload[PAYLOAD];
};

struct tags {
	__be16 outer_tpid, outer_tci, inner_tpid, inner_tci;
};

#define PLAIN_LENGTH (ETH_HLEN + offsetof(struct datagram, payload) + PAYLOAD)
struct pppoe {
	__u8 version_type, code;
	__be16 session_id, length, protocol;
} __attribute__((packed));

#define TAGGED_LENGTH (PLAIN_LENGTH + sizeof(struct tags))
#define PPPOE_LENGTH (TAGGED_LENGTH + sizeof(struct pppoe))
#define PPP_IPV4 0x0021

#define GATEWAY_ACCESS 0x027700000001ULL
#define GATEWAY_CORE 0x027700000002ULL
#define ROUTER 0x027700000003ULL

static __always_inline __u32 next_subscriber(void)
{
	__u32 zero = 0;
	struct plan *now = bpf_map_lookup_elem(&plan, &zero);

	if (!now)
		return 0;
	now->state = now->state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (now->state >> 32) * now->subscribers >> 32;
}

/* A flow a subscriber: whom it talks to.  The factor is odd, so each of 65,536 has a peer of its own. */
static __always_inline __u32 remote_of(__u32 subscriber)
{
	return FIRST_REMOTE + (__u16)(subscriber * 40503);
}

/* Bring the frame to its length, whatever the last run made of it, and return its start. */
static __always_inline void *fresh(struct xdp_md *ctx, const __u32 length)
{
	void *data;

	if (bpf_xdp_adjust_head(ctx, (int)(ctx->data_end - ctx->data) - (int)length))
		return NULL;
	data = (void *)(long)ctx->data;
	return data + length > (void *)(long)ctx->data_end ? NULL : data;
}

static __always_inline void write_datagram(void *l3, __u32 from, __u32 to)
{
	struct datagram *datagram = l3;
	struct iphdr *ip = &datagram->ip;
	struct udphdr *udp = &datagram->udp;
	__u16 length = sizeof(*ip) + sizeof(*udp) + PAYLOAD;
	__u32 sum = 0x4500 + length + 0x4000 + (64 << 8 | IPPROTO_UDP);

	sum += (from >> 16) + (__u16)from + (to >> 16) + (__u16)to;
	sum = (sum >> 16) + (__u16)sum;
	sum += sum >> 16;
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = 0;
	ip->tot_len = bpf_htons(length);
	ip->id = 0;
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = 64;
	ip->protocol = IPPROTO_UDP;
	ip->check = ~bpf_htons((__u16)sum);
	ip->saddr = bpf_htonl(from);
	ip->daddr = bpf_htonl(to);
	udp->source = bpf_htons(4000);
	udp->dest = bpf_htons(5000);
	udp->len = bpf_htons(sizeof(*udp) + PAYLOAD);
	udp->check = 0;
}

/* In words that the program under test can read back without waiting for its store buffer. */
static __always_inline void write_mac(void *octets, __u64 mac)
{
	*(__u32 *)octets = bpf_htonl(mac >> 16);
	*(__u16 *)(octets + 4) = bpf_htons((__u16)mac);
}

static __always_inline void write_macs(void *frame, __u64 destination, __u64 source)
{
	write_mac(frame, destination);
	write_mac(frame + ETH_ALEN, source);
}

/* Ethernet's header of a subscriber's frame, in two tags. */
static __always_inline void write_tagged(void *frame, __u32 subscriber, __u16 ethertype)
{
	struct tags *tags = frame + 2 * ETH_ALEN;

	write_macs(frame, GATEWAY_ACCESS, CLIENT + subscriber);
	tags->outer_tpid = bpf_htons(ETH_P_8021AD);
	tags->outer_tci = bpf_htons(1 + (subscriber >> VIDS_LOG2));
	tags->inner_tpid = bpf_htons(ETH_P_8021Q);
	tags->inner_tci = bpf_htons(1 + (subscriber & ((1 << VIDS_LOG2) - 1)));
	*(__be16 *)(tags + 1) = bpf_htons(ethertype);
}

/* From a subscriber to the network, in two tags.  0 on success, like the others. */
static __always_inline int write_up(struct xdp_md *ctx)
{
	void *frame = fresh(ctx, TAGGED_LENGTH);
	__u32 subscriber = next_subscriber();

	if (!frame)
		return -1;
	write_tagged(frame, subscriber, ETH_P_IP);
	write_datagram(frame + ETH_HLEN + sizeof(struct tags), FIRST_ADDRESS + subscriber, remote_of(subscriber));
	return 0;
}

/* The same in a session of PPPoE. */
static __always_inline int write_up_pppoe(struct xdp_md *ctx)
{
	void *frame = fresh(ctx, PPPOE_LENGTH);
	__u32 subscriber = next_subscriber();
	struct pppoe *pppoe = frame + ETH_HLEN + sizeof(struct tags);

	if (!frame)
		return -1;
	write_tagged(frame, subscriber, ETH_P_PPP_SES);
	pppoe->version_type = 0x11;
	pppoe->code = 0;
	pppoe->session_id = bpf_htons(FIRST_PPPOE + (subscriber & PPPOE_MASK));
	pppoe->length = bpf_htons(2 + PLAIN_LENGTH - ETH_HLEN);
	pppoe->protocol = bpf_htons(PPP_IPV4);
	write_datagram(pppoe + 1, FIRST_ADDRESS + subscriber, remote_of(subscriber));
	return 0;
}

/* The same without tags, as a router without sessions gets it. */
static __always_inline int write_up_plain(struct xdp_md *ctx)
{
	struct ethhdr *eth = fresh(ctx, PLAIN_LENGTH);
	__u32 subscriber = next_subscriber();

	if (!eth)
		return -1;
	write_macs(eth, GATEWAY_ACCESS, CLIENT + subscriber);
	eth->h_proto = bpf_htons(ETH_P_IP);
	write_datagram(eth + 1, FIRST_ADDRESS + subscriber, remote_of(subscriber));
	return 0;
}

/* From the network to a subscriber. */
static __always_inline int write_down(struct xdp_md *ctx)
{
	struct ethhdr *eth = fresh(ctx, PLAIN_LENGTH);
	__u32 subscriber = next_subscriber();

	if (!eth)
		return -1;
	write_macs(eth, GATEWAY_CORE, ROUTER);
	eth->h_proto = bpf_htons(ETH_P_IP);
	write_datagram(eth + 1, remote_of(subscriber), FIRST_ADDRESS + subscriber);
	return 0;
}

/* ---- DHCP: one message written by Python, with each subscriber's own fields put in ---------- */

#define MESSAGE_MAX 512				/* octets of a frame, a power of two */

/* A frame in two tags, everything a subscriber's own left zero, and what else of it sums up to. */
struct message {
	__u32 length;
	__u32 udp_sum;				/* pseudo header, UDP and BOOTP, as words in memory */
	__u32 ip_sum;
	__u32 pad;
	__u8 octets[MESSAGE_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct message);
} message SEC(".maps");

static __always_inline __u16 folded(__u64 sum)
{
	sum = (sum >> 32) + (__u32)sum;
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return ~((sum >> 16) + (sum & 0xffff));
}

struct dhcp {
	struct ethhdr_macs {
		__u8 destination[ETH_ALEN], source[ETH_ALEN];
	} macs;
	struct tags tags;
	__be16 type;
	__u8 ip[20];
	__be16 udp[4];
	__u8 bootp[44];
};

#define IP_SUM 10				/* in ip */
#define IP_FROM 12
#define CIADDR 12				/* in bootp */
#define CHADDR 28

/* A renewal of a subscriber: unicast, from its address. */
static __always_inline int write_dhcp(struct xdp_md *ctx)
{
	__u32 zero = 0, subscriber = next_subscriber(), address = bpf_htonl(FIRST_ADDRESS + subscriber);
	struct message *from = bpf_map_lookup_elem(&message, &zero);
	__u64 mac = CLIENT + subscriber, sum;
	struct dhcp *frame;
	__u64 length, now;

	if (!from)
		return -1;
	length = from->length;
	now = (void *)(long)ctx->data_end - (void *)(long)ctx->data;
	asm volatile("" : "+r"(length), "+r"(now));	/* or the bounds are checked on copies */
	if (length < sizeof(*frame) || length > MESSAGE_MAX)
		return -1;
	if (bpf_xdp_adjust_tail(ctx, (int)(length - now)))	/* the answer to the last one was longer */
		return -1;
	if (bpf_xdp_store_bytes(ctx, 0, from->octets, length))
		return -1;
	frame = (void *)(long)ctx->data;
	if ((void *)(frame + 1) > (void *)(long)ctx->data_end)
		return -1;
	write_mac(frame->macs.source, mac);
	write_mac(frame->bootp + CHADDR, mac);
	frame->tags.outer_tci = bpf_htons(1 + (subscriber >> VIDS_LOG2));
	frame->tags.inner_tci = bpf_htons(1 + (subscriber & ((1 << VIDS_LOG2) - 1)));
	*(__be32 *)(frame->ip + IP_FROM) = address;
	*(__be32 *)(frame->bootp + CIADDR) = address;
	*(__be16 *)(frame->ip + IP_SUM) = folded((__u64)from->ip_sum + address);
	sum = (__u64)from->udp_sum + address + address;		/* of the pseudo header and of ciaddr */
	sum += bpf_htonl(mac >> 16) + (__u64)bpf_htons((__u16)mac);
	frame->udp[3] = folded(sum);
	return 0;
}

static __always_inline int then_test(struct xdp_md *ctx, int failed)
{
	if (!failed)
		bpf_tail_call_static(ctx, &under_test, 0);
	return XDP_ABORTED;
}

SEC("xdp")
int up_repeat(struct xdp_md *ctx)
{
	return then_test(ctx, write_up(ctx));
}

SEC("xdp")
int up_pppoe_repeat(struct xdp_md *ctx)
{
	return then_test(ctx, write_up_pppoe(ctx));
}

SEC("xdp")
int down_repeat(struct xdp_md *ctx)
{
	return then_test(ctx, write_down(ctx));
}

SEC("xdp")
int dhcp_repeat(struct xdp_md *ctx)
{
	return then_test(ctx, write_dhcp(ctx));
}

SEC("xdp")
int dhcp_live(struct xdp_md *ctx)
{
	return write_dhcp(ctx) ? XDP_ABORTED : XDP_TX;
}

SEC("xdp")
int up_live(struct xdp_md *ctx)
{
	return write_up(ctx) ? XDP_ABORTED : XDP_TX;
}

SEC("xdp")
int up_plain_live(struct xdp_md *ctx)
{
	return write_up_plain(ctx) ? XDP_ABORTED : XDP_TX;
}

SEC("xdp")
int down_live(struct xdp_md *ctx)
{
	return write_down(ctx) ? XDP_ABORTED : XDP_TX;
}

/* Stands for the program under test when the wrapper's own cost is wanted. */
SEC("xdp")
int nothing(struct xdp_md *ctx)
{
	return XDP_DROP;
}

/* At the far end. */
SEC("xdp")
int sink(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&arrived, &zero);

	if (count)
		*count += 1;
	return XDP_DROP;
}

/* The least a program can do between two ports. */
SEC("xdp")
int bare_redirect(struct xdp_md *ctx)
{
	return bpf_redirect_map(&other_port, 0, XDP_DROP);
}

/* A veth with a program runs NAPI, and so takes what is redirected into it. */
SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
