/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#define stage_id_forward STAGE_FORWARD

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SERVICE_MAX);
	__type(key, __u32);
	__type(value, struct service);
} services SEC(".maps");

/* Whether this is for the gateway itself: ICMP echo, either way, and declared services, never in fragments. */
static __always_inline int is_served(struct packet *p)
{
	const struct service *service;
	const __u8 *l4;
	__u16 port;
	__u32 i;

	if (p->fragment & IP4_FRAGMENT || p->l4 + 8 > p->l3 + p->total)
		return 0;
	l4 = at(p, p->l4, 8);
	if (!l4)
		return 0;
	if (p->protocol == IPPROTO_ICMP)
		return l4[0] == ICMP_ECHO_REQUEST || l4[0] == ICMP_ECHO_REPLY;
	port = bpf_ntohs(((const __be16 *)l4)[1]);
	for (i = 0; i < SERVICE_MAX; i++) {
		__u32 index = i;

		service = bpf_map_lookup_elem(&services, &index);
		if (service && service->port && service->port == port && service->protocol == p->protocol)
			return 1;
	}
	return 0;
}

/* Route to the network.  A missing route is dropped rather than handed up: behind the tenant's table
 * the kernel's rules go on to the main one, and a tenant would leave by somebody else's routes.  Who
 * wants an answer puts an `unreachable` default into the table. */
static __always_inline int route(struct packet *p, const struct tenant *tenant)
{
	struct bpf_fib_lookup fib;
	const struct port *out;
	struct ethhdr *eth;
	__u16 *mac;
	long result;

	result = fib_lookup(p, p->session->table, p->total, &fib);
	if (result < 0 || result == BPF_FIB_LKUP_RET_NOT_FWDED)
		return drop(p, DROP_NO_ROUTE);
	if (result == BPF_FIB_LKUP_RET_BLACKHOLE)
		return drop(p, DROP_BLACKHOLE);
	if (result == BPF_FIB_LKUP_RET_FWD_DISABLED)
		return drop(p, DROP_FORWARDING_OFF);
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return TO_KERNEL;
	if (tenant->link_ifindex == fib.ifindex)
		return drop(p, DROP_NO_SUBSCRIBER);
	if (result != BPF_FIB_LKUP_RET_SUCCESS)
		return TO_KERNEL;
	out = port_on(fib.ifindex);
	if (!out || out->kind != PORT_NETWORK)
		return TO_KERNEL;
	if (leave_by(p, out->number))
		return drop(p, DROP_NO_EGRESS);
	if (strip(p))
		return drop(p, DROP_ADJUST_HEAD);
	eth = at(p, 0, sizeof(*eth) + sizeof(struct iphdr));
	if (!eth)
		return drop(p, DROP_TRUNCATED);
	mac = (__u16 *)eth;
	mac[0] = ((__u16 *)fib.dmac)[0];
	mac[1] = ((__u16 *)fib.dmac)[1];
	mac[2] = ((__u16 *)fib.dmac)[2];
	mac_store(eth->h_source, mac_load(fib.smac));
	eth->h_proto = bpf_htons(ETH_P_IP);
	decrement_ttl((struct iphdr *)(eth + 1));
	count_asked(p, p->session);
	return redirected(p, OUTCOME_TO_NETWORK);
}

/* Decide where a client's packet goes: the gateway itself, another client, the network.
 * Needs: session, destination, IPv4.  Changes: the frame. */
static __always_inline int stage_forward(struct packet *p)
{
	__u32 number = p->session->tenant;
	const struct tenant *tenant = bpf_map_lookup_elem(&tenants, &number);
	const struct session *to = NULL;

	if (!tenant)
		return drop(p, DROP_NO_ROUTE);
	if (ip4_in(p->to, 0xe0000000, 0xf0000000))
		return drop(p, DROP_MULTICAST);
	if (p->to == INADDR_BROADCAST || mac_is_group(p->destination))
		return drop(p, DROP_BROADCAST);
	if (ip4_in(p->to, 0xf0000000, 0xf0000000) || ip4_in(p->to, 0x7f000000, 0xff000000) ||
	    ip4_in(p->to, 0, 0xff000000))
		return drop(p, DROP_BOGUS_DESTINATION);
	if (is_inside(tenant, p->to))
		to = host4(p, p->session->tenant, p->to);
	if (to) {
		if (to->flags & SESSION_LOCAL)
			return is_served(p) ? TO_KERNEL : drop(p, DROP_LOCAL_SERVICE);
		if (to->promise_until <= now(p))
			return drop(p, DROP_PROMISE_PAST);
		return deliver_to(p, to);
	}
	if (p->stale)
		return drop(p, DROP_STALE_KEY);
	if (p->ttl <= 1 || p->options)
		return TO_KERNEL;
	return route(p, tenant);
}
