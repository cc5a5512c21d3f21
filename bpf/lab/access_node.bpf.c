/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The lab's access node: what an OLT does to Ethernet.
 *
 * Customer port -> push the line's tags -> trunk.  Trunk -> look the tags up -> pop -> customer port.
 * Several lines on the same tags (N:1) are told apart by MACs learned upstream.  What needs a
 * decision or several copies (option 82, flooding) goes to Python through `ring`, and so do copies
 * of what crosses the trunk while `mirror` is set: no packet socket sees XDP's redirects.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "at.h"

#define TAGS_MAX 2
#define FRAME_MAX 2048
#define DHCP_SERVER 67
#define DHCP_CLIENT 68
#define VID(tci) (bpf_ntohs(tci) & 0x0fff)

struct tag {
	__be16 tpid;
	__be16 tci;
};

enum line_flag {
	LINE_SHARED = 1,         /* other lines have the same tags */
	LINE_CIRCUIT = 2,        /* Python puts option 82 into its DHCP */
};

struct line {
	__u32 ifindex;
	__u16 count;             /* of tags */
	__u16 flags;
	struct tag tags[TAGS_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);      /* ifindex of the customer port */
	__type(value, struct line);
} lines SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);      /* the non-zero VIDs: outer << 16 | inner */
	__type(value, struct line);
} vlans SEC(".maps");

struct station {
	__u32 vids;
	__u8 mac[ETH_ALEN];
	__u16 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct station);
	__type(value, __u32);    /* ifindex of the customer port */
} stations SEC(".maps");

struct node {
	__u32 trunk;             /* ifindex */
	__u32 mirror;            /* 1: copy what crosses the trunk */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct node);
} nodes SEC(".maps");

enum counter {
	COUNT_UP,
	COUNT_DOWN,
	COUNT_TO_PYTHON,
	COUNT_NO_LINE,           /* tags that no line has, or a port that is none */
	COUNT_OTHER_TAGS,        /* the VIDs are a line's, number or TPIDs of the tags are not */
	COUNT_MALFORMED,
	COUNT_RING_FULL,         /* a copy was lost */
	COUNT_COUNT,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COUNT_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

enum record_kind {
	TO_GATEWAY = 1,          /* copy of a frame as it left by the trunk */
	FROM_GATEWAY = 2,        /* copy of a frame as it came in by the trunk */
	DECIDE_UP = 3,           /* untagged frame from a customer, for Python to pass on */
	DECIDE_DOWN = 4,         /* tagged frame from the trunk, for Python to pass on */
};

struct record {
	__u64 at;                /* CLOCK_BOOTTIME */
	__u32 ifindex;           /* where it came in */
	__u16 kind;
	__u16 length;
	__u8 frame[FRAME_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 32 << 20);
} ring SEC(".maps");

static __always_inline void count(__u32 which)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &which);

	if (value)
		__sync_fetch_and_add(value, 1);
}

static __always_inline int drop(__u32 why)
{
	count(why);
	return XDP_DROP;
}

static __always_inline void to_python(struct xdp_md *ctx, __u16 kind)
{
	__u64 length = bpf_xdp_get_buff_len(ctx);
	struct record *record;

	if (!length || length > FRAME_MAX) {
		count(COUNT_MALFORMED);
		return;
	}
	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		count(COUNT_RING_FULL);
		return;
	}
	record->at = bpf_ktime_get_boot_ns();
	record->ifindex = ctx->ingress_ifindex;
	record->kind = kind;
	record->length = length;
	if (bpf_xdp_load_bytes(ctx, 0, record->frame, length))
		bpf_ringbuf_discard(record, 0);
	else
		bpf_ringbuf_submit(record, 0);
}

static __always_inline struct node *this_node(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&nodes, &zero);
}

/* Is the IPv4 packet at `offset` DHCP to `port`? */
static __always_inline int is_dhcp(struct xdp_md *ctx, __u32 offset, __u16 port)
{
	struct iphdr ip;
	struct udphdr udp;

	return !bpf_xdp_load_bytes(ctx, offset, &ip, sizeof(ip)) && ip.protocol == IPPROTO_UDP &&
	       !bpf_xdp_load_bytes(ctx, offset + ip.ihl * 4, &udp, sizeof(udp)) && udp.dest == bpf_htons(port);
}

static __always_inline __u32 vids_of(const struct tag *tags)
{
	__u16 outer = VID(tags[0].tci), inner = VID(tags[1].tci);

	return outer ? (__u32)outer << 16 | inner : (__u32)inner << 16;
}

static __always_inline void learn(struct ethhdr *eth, struct line *line)
{
	struct station station = { .vids = vids_of(line->tags) };
	__u32 *known;

	__builtin_memcpy(station.mac, eth->h_source, ETH_ALEN);
	known = bpf_map_lookup_elem(&stations, &station);
	if (!known || *known != line->ifindex)
		bpf_map_update_elem(&stations, &station, &line->ifindex, BPF_ANY);
}

/* On every customer port. */
SEC("xdp")
int upstream(struct xdp_md *ctx)
{
	__u32 ifindex = ctx->ingress_ifindex;
	struct line *line = bpf_map_lookup_elem(&lines, &ifindex);
	struct node *node = this_node();
	struct ethhdr *eth = at(ctx, 0, sizeof(*eth));
	struct ethhdr outer;
	struct tag *tag;

	if (!line || !node)
		return drop(COUNT_NO_LINE);
	if (!eth)
		return drop(COUNT_MALFORMED);
	if (line->flags & LINE_SHARED)
		learn(eth, line);
	if (line->flags & LINE_CIRCUIT && eth->h_proto == bpf_htons(ETH_P_IP) &&
	    is_dhcp(ctx, sizeof(*eth), DHCP_SERVER)) {
		to_python(ctx, DECIDE_UP);
		return drop(COUNT_TO_PYTHON);
	}
	__builtin_memcpy(&outer, eth, sizeof(outer));
	if (line->count == 2) {
		if (bpf_xdp_adjust_head(ctx, -8))
			return drop(COUNT_MALFORMED);
		tag = at(ctx, 2 * ETH_ALEN, 2 * sizeof(*tag) + sizeof(__be16));
		if (!tag)
			return drop(COUNT_MALFORMED);
		tag[0] = line->tags[0];
		tag[1] = line->tags[1];
	} else if (line->count == 1) {
		if (bpf_xdp_adjust_head(ctx, -4))
			return drop(COUNT_MALFORMED);
		tag = at(ctx, 2 * ETH_ALEN, sizeof(*tag) + sizeof(__be16));
		if (!tag)
			return drop(COUNT_MALFORMED);
		tag[0] = line->tags[0];
	}
	eth = at(ctx, 0, sizeof(*eth));
	if (!eth)
		return drop(COUNT_MALFORMED);
	__builtin_memcpy(eth, &outer, 2 * ETH_ALEN);
	if (node->mirror)
		to_python(ctx, TO_GATEWAY);
	count(COUNT_UP);
	return bpf_redirect(node->trunk, 0);
}

/* On the trunk. */
SEC("xdp")
int downstream(struct xdp_md *ctx)
{
	struct node *node = this_node();
	struct ethhdr *eth = at(ctx, 0, sizeof(*eth));
	struct tag tags[TAGS_MAX] = {};
	struct station station = {};
	struct ethhdr outer;
	struct line *line;
	__u32 vids, found = 0, target;
	__be16 type;

	if (!node || !eth)
		return drop(COUNT_MALFORMED);
	if (node->mirror)
		to_python(ctx, FROM_GATEWAY);
	__builtin_memcpy(&outer, eth, sizeof(outer));
	type = eth->h_proto;
#pragma unroll
	for (int i = 0; i < TAGS_MAX; i++) {
		/* A tag's TPID is the type before it: read TCI and the next type. */
		__be16 *next = at(ctx, sizeof(*eth) + 4 * i, 2 * sizeof(__be16));

		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD) &&
		    type != bpf_htons(ETH_P_QINQ1))
			break;
		if (!next)
			return drop(COUNT_MALFORMED);
		tags[i].tpid = type;
		tags[i].tci = next[0];
		type = next[1];
		found = i + 1;
	}
	vids = vids_of(tags);
	line = bpf_map_lookup_elem(&vlans, &vids);
	if (!line) {
		count(COUNT_NO_LINE);
		return XDP_PASS; /* to whoever listens at the trunk: a crowd has no customer ports */
	}
	if (line->count != found || line->tags[0].tpid != tags[0].tpid || line->tags[1].tpid != tags[1].tpid)
		return drop(COUNT_OTHER_TAGS);
	target = line->ifindex;
	if (line->flags & LINE_SHARED) {
		__u32 *known;

		station.vids = vids;
		__builtin_memcpy(station.mac, outer.h_dest, ETH_ALEN);
		known = bpf_map_lookup_elem(&stations, &station);
		if (!known || (type == bpf_htons(ETH_P_IP) && line->flags & LINE_CIRCUIT &&
			       is_dhcp(ctx, sizeof(*eth) + 4 * found, DHCP_CLIENT))) {
			to_python(ctx, DECIDE_DOWN);
			return drop(COUNT_TO_PYTHON);
		}
		target = *known;
	}
	if (found && bpf_xdp_adjust_head(ctx, 4 * found))
		return drop(COUNT_MALFORMED);
	eth = at(ctx, 0, sizeof(*eth));
	if (!eth)
		return drop(COUNT_MALFORMED);
	__builtin_memcpy(eth, &outer, 2 * ETH_ALEN);
	eth->h_proto = type;
	count(COUNT_DOWN);
	return bpf_redirect(target, 0);
}

/* A veth that receives redirected frames must run NAPI, and one with a program does. */
SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
