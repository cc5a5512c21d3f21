/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#define stage_id_antispoof STAGE_ANTISPOOF

/* Drop IPv4 whose source is not the address leased to the session (BCP 38); note that the client lives.
 * Needs: session, IPv4.  Changes: nothing of the packet; usage.up.seen. */
static __always_inline int stage_antispoof(struct packet *p)
{
	const struct session *session = p->session;

	if (session->flags & SESSION_CHECK_SOURCE && p->from != session->address)
		return drop(p, DROP_SPOOFED_IPV4);
	note_seen(p, session);
	return NEXT;
}
