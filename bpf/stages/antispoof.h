/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#define stage_id_antispoof STAGE_ANTISPOOF

#define SEEN_RESOLUTION_NS 1000000000ULL

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SESSIONS_DEFAULT);
	__type(key, __u32);
	__type(value, struct activity);
} activity SEC(".maps");

/* Drop IPv4 whose source is not the address leased to the session (BCP 38); note that the client lives.
 * Needs: session, IPv4.  Changes: nothing of the packet; activity.seen. */
static __always_inline int stage_antispoof(struct packet *p)
{
	const struct session *session = p->session;
	struct activity *row;

	if (session->flags & SESSION_CHECK_SOURCE && p->from != session->address)
		return drop(p, DROP_SPOOFED_IPV4);
	row = bpf_map_lookup_elem(&activity, &session->id);
	if (row && now(p) - row->seen > SEEN_RESOLUTION_NS)
		row->seen = now(p);
	return NEXT;
}
