/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames from subscriber ports, in order. */
static __always_inline int access(struct packet *p)
{
	RUN(parse);
	RUN(session);
	RUN(arp);
	RUN(dhcp4);
	RUN(pppoe);
	RUN(punt);
	RUN(admit);
	RUN(antispoof);
	RUN(meter);
	RUN(mss);
	RUN(forward);
	return drop(p, DROP_NONE);
}
