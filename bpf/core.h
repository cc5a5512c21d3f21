/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames from network ports and host links, in order. */
static __always_inline int core(struct packet *p)
{
	RUN(parse);
	RUN(host);
	RUN(deliver);
	return drop(p, DROP_NONE);
}
