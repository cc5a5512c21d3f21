/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps that more than one stage reads.  Sizes are defaults; the loader sets the configured ones. */
#ifndef WAYLEAVE_TABLES_H
#define WAYLEAVE_TABLES_H

#include "packet.h"

#define SESSIONS_DEFAULT 16384

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PORT_SLOTS);
	__type(key, __u32);
	__type(value, struct port);
} ports SEC(".maps");

/* Port number -> ifindex. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, PORT_MAX);
	__type(key, __u32);
	__type(value, __u32);
} egress SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TENANT_MAX);
	__type(key, __u32);
	__type(value, struct tenant);
} tenants SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SESSIONS_DEFAULT);
	__type(key, struct host4_key);
	__type(value, struct slot);
} hosts4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SESSIONS_DEFAULT);
	__type(key, __u32);
	__type(value, struct session);
} sessions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SESSIONS_DEFAULT);
	__type(key, __u32);
	__type(value, struct usage);
} usage SEC(".maps");

/* The number of the tenant whose tables decide about the packet. */
static __always_inline __u32 tenant_of(const struct packet *p)
{
	return p->session ? p->session->tenant : p->port->tenant;
}

/* The configured port on a device, or NULL. */
static __always_inline const struct port *port_on(__u32 ifindex)
{
	const struct port *port;
	__u32 probe, slot;

#pragma unroll
	for (probe = 0; probe < PORT_PROBES; probe++) {
		slot = (ifindex + probe) & (PORT_SLOTS - 1);
		port = bpf_map_lookup_elem(&ports, &slot);
		if (port && port->ifindex == ifindex)
			return port;
	}
	return NULL;
}

/* Whether `hosts4` can know an address of the tenant: most are the internet's, and asking costs a miss. */
static __always_inline int is_inside(const struct tenant *tenant, be32 address)
{
	const struct prefix *prefix = (const struct prefix *)tenant->prefixes;
	__u32 i;

	if (tenant->prefix_count > PREFIX_MAX)
		return 1;
	for (i = 0; i < PREFIX_MAX && i < tenant->prefix_count; i++) {
		if ((address & prefix[i].mask) == prefix[i].network)
			return 1;
	}
	return 0;
}

/* Begin to fetch the counters of the session that a slot leads to, while its row is on its way: two
 * cache misses side by side.  LOCAL rows have none. */
static __always_inline struct usage *fetch_usage(const struct slot *slot)
{
	return bpf_map_lookup_elem(&usage, &slot->id);
}

static __always_inline void touch(const struct usage_direction *direction)
{
	(void)*(const volatile __u64 *)&direction->packets;
}

/* The row that holds an address of a tenant, or NULL.  A key that leads to somebody else's row sets
 * p->stale. */
static __always_inline const struct session *host4(struct packet *p, __u32 tenant, be32 address)
{
	struct host4_key key = { .tenant = tenant, .address = address };
	const struct session *row;
	const struct usage *counters;
	const struct slot *slot;

	slot = bpf_map_lookup_elem(&hosts4, &key);
	if (!slot)
		return NULL;
	counters = fetch_usage(slot);
	if (counters)
		touch(&counters->down);
	row = bpf_map_lookup_elem(&sessions, &slot->row);
	if (row && row->generation == slot->generation && row->address == address && row->tenant == tenant)
		return row;
	p->stale = 1;
	return NULL;
}

/* The counters of a session; NULL for LOCAL rows, whose ids lie past the table. */
static __always_inline struct usage *usage_of(const struct session *session)
{
	return bpf_map_lookup_elem(&usage, &session->id);
}

static __always_inline void count_usage(struct usage_direction *direction, const struct packet *p)
{
	__sync_fetch_and_add(&direction->packets, 1);
	__sync_fetch_and_add(&direction->octets, p->total);
}

#define SEEN_RESOLUTION_NS 1000000000ULL

/* Note once a second that the client lives. */
static __always_inline void note_seen(struct packet *p, const struct session *session)
{
	struct usage *counters = p->dry ? NULL : usage_of(session);

	if (counters && now(p) - counters->up.seen > SEEN_RESOLUTION_NS)
		counters->up.seen = now(p);
}

/* Note once a second that the client asked something of the network, and whether anything has come back
 * since it did so before.  Only then is the other direction's cache line read. */
static __always_inline void note_asked(struct usage *counters, boot_ns at)
{
	__u32 heard;

	if (at - counters->up.asked <= SEEN_RESOLUTION_NS)
		return;
	heard = counters->down.packets;
	counters->up.unanswered = heard == counters->up.heard ? counters->up.unanswered + 1 : 0;
	counters->up.heard = heard;
	counters->up.asked = at;
}

static __always_inline void count_up(const struct packet *p, const struct session *session)
{
	struct usage *counters = p->dry ? NULL : usage_of(session);

	if (counters)
		count_usage(&counters->up, p);
}

/* The same of what goes to the network. */
static __always_inline void count_asked(struct packet *p, const struct session *session)
{
	struct usage *counters = p->dry ? NULL : usage_of(session);

	if (!counters)
		return;
	count_usage(&counters->up, p);
	note_asked(counters, now(p));
}

static __always_inline void count_down(const struct packet *p, const struct session *session)
{
	struct usage *counters = p->dry ? NULL : usage_of(session);

	if (counters)
		count_usage(&counters->down, p);
}

#endif
