/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#define stage_id_session STAGE_SESSION

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SESSIONS_DEFAULT);
	__type(key, struct client_key);
	__type(value, struct slot);
} clients SEC(".maps");

/* Find the session of the client that sent the frame.  Drops nothing: a client without one may still
 * ask for an address.  Who only looks for PPPoE is not the same MAC's client of IPoE.
 * Needs: port, source, svid, cvid, pppoe, control.  Changes: session, stale. */
static __always_inline int stage_session(struct packet *p)
{
	struct client_key key __attribute__((aligned(8))) = {
		.port = p->port->number, .svid = p->svid, .cvid = p->cvid, .pppoe = p->pppoe,
	};
	const __u64 *mine = (const __u64 *)&key, *theirs;
	const struct session *row;
	const struct usage *counters;
	const struct slot *slot;

	if (p->control == CONTROL_DISCOVERY)
		return NEXT;
	mac_store(key.mac, p->source);
	slot = bpf_map_lookup_elem(&clients, &key);
	if (!slot)
		return NEXT;
	counters = fetch_usage(slot);
	if (counters)
		touch(&counters->up);
	row = bpf_map_lookup_elem(&sessions, &slot->row);
	if (!row)
		goto stale;
	theirs = (const __u64 *)&row->client;
	if (row->generation != slot->generation || theirs[0] != mine[0] || theirs[1] != mine[1])
		goto stale;
	p->session = row;
	return NEXT;
stale:
	p->stale = 1;
	return NEXT;
}
