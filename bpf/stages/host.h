/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#define stage_id_host STAGE_HOST

/* Whether the kernel would route the packet into the host link, where nobody holds its address. */
static __always_inline int leads_to_link(struct packet *p)
{
	struct bpf_fib_lookup fib;
	const struct tenant *tenant;
	__u32 number = p->port->tenant;
	long result;

	tenant = bpf_map_lookup_elem(&tenants, &number);
	if (!tenant || !tenant->link_ifindex)
		return 0;
	result = fib_lookup(p, tenant->table, 0, &fib);
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return 0;
	return fib.ifindex == tenant->link_ifindex;
}

/* Find the client a packet is for.  On a network port the rest is the kernel's own traffic; what comes
 * down the host link is for clients only.
 * Needs: port, destination, IPv4.  Changes: session. */
static __always_inline int stage_host(struct packet *p)
{
	const struct session *to;
	int network = p->kind == PORT_NETWORK;

	if (network && p->destination != mac_load(p->port->mac))
		return passed(p);
	to = host4(p, p->port->tenant, p->to);
	if (!to && p->stale)
		return drop(p, DROP_STALE_KEY);
	if (!to || to->flags & SESSION_LOCAL) {
		if (!network || (!to && leads_to_link(p)))
			return drop(p, DROP_NO_SUBSCRIBER);
		return passed(p);
	}
	p->session = to;
	if (to->promise_until <= now(p))
		return drop(p, DROP_PROMISE_PAST);
	return NEXT;
}
