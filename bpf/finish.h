/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The only way out: how each packet ended is counted here, so that what goes in equals what comes out. */
#ifndef WAYLEAVE_FINISH_H
#define WAYLEAVE_FINISH_H

#include "capture.h"
#include "sample.h"
#include "verdict.h"

/* Explain only: how the packet ended. */
static __always_inline void note_end(const struct packet *p)
{
	struct explanation *told;
	__u32 zero = 0;

	told = bpf_map_lookup_elem(&explanation, &zero);
	if (!told)
		return;
	told->outcome = p->outcome;
	told->reason = p->reason;
	told->dhcp4 = p->told_dhcp4;
	told->session = p->session ? p->session->id : NO_SESSION;
	told->receiver = p->told_to ? p->told_to->id : NO_SESSION;
	told->out = p->told_out;
}

/* Count how the packet ended, once. */
static __always_inline int finish(struct packet *p, int verdict)
{
	struct usage *usage;

	if (p->dry) {
		note_end(p);
		return verdict;
	}
	if (p->captures && p->port)
		capture(p);
	count(p, &outcomes, p->stage * OUTCOME_COUNT + p->outcome);
	if (__builtin_expect(p->outcome != OUTCOME_DROPPED, 1))
		return verdict;
	count(p, &drops, p->reason);
	if (p->port)
		sample(p);
	if (!p->session)
		return verdict;
	usage = usage_of(p->session);
	if (usage)
		__sync_fetch_and_add(p->kind == PORT_SUBSCRIBER ? &usage->up.dropped : &usage->down.dropped, 1);
	return verdict;
}

#endif
