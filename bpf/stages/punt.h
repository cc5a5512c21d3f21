/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#define stage_id_punt STAGE_PUNT

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PUNT_CLASS_COUNT * PUNT_RESULT_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} punts SEC(".maps");

static __always_inline int refused(struct packet *p, __u32 class, enum punt_result result, enum drop_reason reason)
{
	count(p, &punts, class * PUNT_RESULT_COUNT + result);
	return drop(p, reason);
}

/* Put the frame, of at most `room` octets, into the ring.  `room` is a constant: a record's size has
 * to be.  Returns 0, or -1 if the ring is full. */
static __always_inline int punt_frame(struct packet *p, __u32 class, __u64 length, const __u64 room)
{
	struct punt *record;

	if (p->dry)
		return 0;
	record = bpf_ringbuf_reserve(&ring, sizeof(*record) + room, 0);
	if (!record)
		return -1;
	record->at = now(p);
	record->session = p->session ? p->session->id : NO_SESSION;
	record->port = p->port->number;
	record->svid = p->svid;
	record->cvid = p->cvid;
	record->class = class;
	record->length = length;
	record->l3 = p->l3;
	record->pppoe = p->pppoe;
	__builtin_memset(record->pad, 0, sizeof(record->pad));
	if (bpf_xdp_load_bytes(p->ctx, 0, record + 1, within(length, 1, room))) {
		bpf_ringbuf_discard(record, 0);
		return -1;
	}
	bpf_ringbuf_submit(record, 0);
	return 0;
}

/* New arrivals leave the upper half of the ring to those who have something to lose. */
static __always_inline int ring_has_room(__u32 class)
{
	if (class == PUNT_DHCP4_KNOWN || class == PUNT_PPP_KNOWN)
		return 1;
	return bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) <= bpf_ringbuf_query(&ring, BPF_RB_RING_SIZE) / 2;
}

static __always_inline enum punt_class punt_class(const struct packet *p)
{
	if (p->control == CONTROL_DHCP4)
		return p->session ? PUNT_DHCP4_KNOWN : PUNT_DHCP4_NEW;
	if (p->control == CONTROL_DISCOVERY)
		return PUNT_PPPOE_DISCOVERY;
	return p->session ? PUNT_PPP_KNOWN : PUNT_PPP_NEW;
}

static __always_inline enum policer line_policer(const struct packet *p)
{
	if (is_pppoe_control(p))
		return p->port->shared ? POLICE_PPPOE_SHARED : POLICE_PPPOE_LINE;
	return p->port->shared ? POLICE_SHARED : POLICE_LINE;
}

/* Hand DHCP and PPPoE's control to Python, in all it may be given: policed by client, then line, then class, so that a
 * flood is charged to the narrowest bucket and the class's rate stays for the others.  A line that has
 * nothing left is refused before all that: MACs made up there must not use up other clients' buckets.
 * Needs: port, session, source, tags, pppoe, control.  Changes: nothing. */
static __always_inline int stage_punt(struct packet *p)
{
	__u32 class, line, by_line, by_client;
	__u64 length = bpf_xdp_get_buff_len(p->ctx);
	int lost;

	if (!p->control)
		return NEXT;
	if (p->fragment & IP4_FRAGMENT)
		return drop(p, DROP_DHCP_FRAGMENT);
	if (length > PUNT_FRAME_MAX)
		return drop(p, DROP_TOO_BIG);
	class = punt_class(p);
	by_line = line_policer(p);
	by_client = is_pppoe_control(p) ? POLICE_PPPOE_CLIENT : POLICE_CLIENT;
	line = line_bucket(p);
	if (spent(p, by_line, line))
		return refused(p, class, PUNT_REFUSED_LINE, DROP_PUNT_LINE);
	if (!conforms(p, by_client, client_bucket(p)))
		return refused(p, class, PUNT_REFUSED_CLIENT, DROP_PUNT_CLIENT);
	if (!conforms(p, by_line, line))
		return refused(p, class, PUNT_REFUSED_LINE, DROP_PUNT_LINE);
	if (!conforms(p, class, class))
		return refused(p, class, PUNT_REFUSED_CLASS, DROP_PUNT_CLASS);
	if (!ring_has_room(class))
		return refused(p, class, PUNT_REFUSED_RING, DROP_PUNT_RING);
	if (length <= 384)
		lost = punt_frame(p, class, length, 384);
	else if (length <= 768)
		lost = punt_frame(p, class, length, 768);
	else
		lost = punt_frame(p, class, length, PUNT_FRAME_MAX);
	if (lost)
		return refused(p, class, PUNT_REFUSED_RING, DROP_PUNT_RING);
	count(p, &punts, class * PUNT_RESULT_COUNT + PUNT_SENT);
	return punted(p);
}

_Static_assert((int)POLICE_DHCP4_KNOWN == (int)PUNT_DHCP4_KNOWN && (int)POLICE_DHCP4_NEW == (int)PUNT_DHCP4_NEW &&
		       (int)POLICE_PPP_KNOWN == (int)PUNT_PPP_KNOWN && (int)POLICE_PPP_NEW == (int)PUNT_PPP_NEW &&
		       (int)POLICE_PPPOE_DISCOVERY == (int)PUNT_PPPOE_DISCOVERY,
	       "a class is policed under its own number");
