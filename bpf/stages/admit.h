/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#define stage_id_admit STAGE_ADMIT

/* Let on only what is addressed to the gateway and comes from a client whose lease stands.
 * Needs: port, session, stale, destination.  Changes: nothing. */
static __always_inline int stage_admit(struct packet *p)
{
	if (!mac_is_group(p->destination) && p->destination != mac_load(p->port->mac))
		return drop(p, DROP_NOT_FOR_GATEWAY);
	if (!p->session)
		return drop(p, p->stale ? DROP_STALE_KEY : DROP_NO_SESSION);
	if (p->session->promise_until <= now(p))
		return drop(p, DROP_PROMISE_PAST);
	return NEXT;
}
