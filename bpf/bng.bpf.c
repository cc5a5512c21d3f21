// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The gateway's data plane: one program for subscriber ports, one for network ports and host links, and
 * the same two for `bng explain` and for `bng capture`.  One translation unit, so that every map exists once.
 */
#include <stddef.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "settings.h"
#include "packet.h"
#include "tables.h"
#include "verdict.h"
#include "police.h"
#include "finish.h"
#include "encapsulate.h"
#include "ip4.h"
#include "dhcp4_request.h"
#include "host_link.h"
#include "fib.h"
#include "too_big.h"

#include "stages/parse.h"
#include "stages/session.h"
#include "stages/arp.h"
#include "stages/dhcp4.h"
#include "stages/pppoe.h"
#include "stages/punt.h"
#include "stages/admit.h"
#include "stages/antispoof.h"
#include "stages/meter.h"
#include "stages/mss.h"
#include "stages/deliver.h"
#include "stages/forward.h"
#include "stages/host.h"

#include "access.h"
#include "core.h"

/* Count the frame in and find its port.  0, or -1: the device is not configured, or not for a program
 * that serves the kinds [first, last]. */
static __always_inline int enter(struct packet *p, __u32 first, __u32 last)
{
	const struct port *port = port_on(p->ctx->ingress_ifindex);

	if (!port || port->kind < first || port->kind > last) {
		count(p, &received, 0);
		return -1;
	}
	p->port = port;
	p->kind = port->kind;
	count(p, &received, p->kind);
	return 0;
}

enum side { ACCESS, CORE };

/* Everything between a frame and its verdict; `dry` for `bng explain`, which leaves no trace, `captures` for
 * `bng capture`, which keeps copies.  All but `ctx` are constants in each program. */
static __always_inline int run(struct xdp_md *ctx, const enum side side, const __u32 dry, const __u32 captures)
{
	struct packet packet = {
		.ctx = ctx, .dry = dry, .captures = captures, .told_dhcp4 = DHCP4_RESULT_COUNT,
	}, *p = &packet;
	int verdict;

	if (side == ACCESS ? enter(p, PORT_SUBSCRIBER, PORT_SUBSCRIBER) : enter(p, PORT_NETWORK, PORT_HOST_LINK))
		return finish(p, drop(p, DROP_UNKNOWN_PORT));
	if (captures)
		take_copy(p);
	verdict = side == ACCESS ? access(p) : core(p);
	if (verdict == TO_KERNEL)
		verdict = up_host_link(p);
	return finish(p, verdict);
}

SEC("xdp")
int bng_access(struct xdp_md *ctx)
{
	return run(ctx, ACCESS, 0, 0);
}

SEC("xdp")
int bng_core(struct xdp_md *ctx)
{
	return run(ctx, CORE, 0, 0);
}

SEC("xdp")
int explain_access(struct xdp_md *ctx)
{
	return run(ctx, ACCESS, 1, 0);
}

SEC("xdp")
int explain_core(struct xdp_md *ctx)
{
	return run(ctx, CORE, 1, 0);
}

SEC("xdp")
int capture_access(struct xdp_md *ctx)
{
	return run(ctx, ACCESS, 0, 1);
}

SEC("xdp")
int capture_core(struct xdp_md *ctx)
{
	return run(ctx, CORE, 0, 1);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
