/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the stages know of the packet in hand, and bounded access to its octets.
 *
 * Headers are kept as offsets and copies of fields, never as nullable pointers: the compiler folds
 * the null checks away and the verifier then refuses.  What is used by more than one stage is read
 * once, in parse.
 */
#ifndef WAYLEAVE_PACKET_H
#define WAYLEAVE_PACKET_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>

#include "abi.h"

#define MAC_BROADCAST 0xffffffffffffULL
#define IP4_FRAGMENT bpf_htons(0x3fff)		/* more-fragments or an offset */
#define IP4_OFFSET bpf_htons(0x1fff)
#define IP4_WHOLE bpf_htons(0x4000)		/* don't fragment */

/* What is Python's to answer. */
enum control {
	CONTROL_NONE = 0,		/* data */
	CONTROL_DHCP4,			/* a DHCP message for the gateway */
	CONTROL_DISCOVERY,		/* PPPoE before a session */
	CONTROL_PPP,			/* in a PPPoE session, what is no data */
};

struct packet {
	struct xdp_md *ctx;
	const struct port *port;	/* it came in by; never NULL past the entry */
	const struct session *session;	/* subscriber ports: the sender's; others: the receiver's; or NULL */
	boot_ns now;			/* 0: not read yet, see now() */
	__u64 destination;		/* MACs, as mac_load() gives them */
	__u64 source;
	__u32 stage;
	__u32 outcome;
	__u32 reason;			/* enum drop_reason, of a dropped packet */
	__u32 l3;			/* offsets from the start of the frame */
	__u32 l4;
	__u32 kind;			/* enum port_kind */
	__u32 stale;			/* a key led to a row that is somebody else's by now */
	__u32 dry;			/* explain: leave no trace.  A constant in each entry program, as is */
	__u32 captures;			/* capture: look for the packets of one client */
	__u32 told_dhcp4;		/* for explain: enum dhcp4_result; for both: */
	__u32 told_out;			/* the port it leaves by, */
	const struct session *told_to;	/* and whom it is delivered to, or NULL */
	__u16 type;			/* Ethernet type behind the tags, in network order */
	__u16 svid;
	__u16 cvid;
	__u16 pppoe;			/* PPPoE session-id, 0: IPoE */
	/* Of IPv4: */
	__u16 total;			/* octets, in host order */
	__be16 fragment;
	__u8 tos;
	__u8 ttl;
	__u8 protocol;
	__u8 options;			/* whether there are any */
	__u8 control;			/* enum control */
	be32 from;
	be32 to;
};

struct vlan_tag {
	__be16 tci;
	__be16 type;
};

/* RFC 2516 4, and PPP's protocol (RFC 1661 2), which is never compressed. */
struct pppoe {
	__u8 version_type;
	__u8 code;
	__be16 session;
	__be16 length;			/* of what follows */
	__be16 protocol;
};

#define PPPOE_LENGTH 6
#define PPPOE_VERSION_TYPE 0x11
#define PPP_LENGTH 2
#define PPP_IPV4 bpf_htons(0x0021)
#define PPP_LCP bpf_htons(0xc021)
#define PPP_DATA_LAST 0x3fff			/* RFC 1661 2: protocols up to it carry a network layer's data */

/* The octets [offset, offset + size) of the frame, or NULL if they are not all there.
 * The mask is out of the compiler's sight, or it would remove what the verifier asks for. */
static __always_inline void *at(const struct packet *p, __u64 offset, __u64 size)
{
	void *data = (void *)(long)p->ctx->data;
	void *end = (void *)(long)p->ctx->data_end;

	asm volatile("%0 &= 0xff" : "+r"(offset));
	if (data + offset + size > end)
		return NULL;
	return data + offset;
}

/* A value that is known to lie in [least, most], two constants, made known to the verifier: out of the
 * compiler's sight, and on the register that is used.  A check in C may become one of a copy, or one of
 * both ends at once of what is one less, and kernel 6.1 then knows nothing of the value itself. */
static __always_inline __u64 within(__u64 value, const __u64 least, const __u64 most)
{
	asm volatile("if %0 >= %1 goto +1\n"
		     "%0 = %1\n"
		     "if %0 <= %2 goto +1\n"
		     "%0 = %2\n"
		     : "+r"(value) : "i"(least), "i"(most));
	return value;
}

/* Octets of the frame.  Behind the barrier the compiler cannot merge the subtraction into 32-bit
 * arithmetic on packet pointers, which the verifier refuses. */
static __always_inline __u64 frame_length(const struct packet *p)
{
	__u64 length = (void *)(long)p->ctx->data_end - (void *)(long)p->ctx->data;

	asm volatile("" : "+r"(length));
	return length;
}

/* The clock, read once a packet and only if somebody asks. */
static __always_inline boot_ns now(struct packet *p)
{
	if (!p->now)
		p->now = bpf_ktime_get_boot_ns();
	return p->now;
}

/* A MAC as a number that compares and hashes in one go; its first octet is the lowest. */
static __always_inline __u64 mac_load(const void *octets)
{
	const __u16 *words = octets;

	return *(const __u32 *)octets | (__u64)words[2] << 32;
}

static __always_inline void mac_store(void *octets, __u64 mac)
{
	__u16 *words = octets;

	*(__u32 *)octets = mac;
	words[2] = mac >> 32;
}

/* True for group addresses, broadcast among them. */
static __always_inline int mac_is_group(__u64 mac)
{
	return mac & 1;
}

static __always_inline int ip4_in(be32 address, __u32 prefix, __u32 mask)
{
	return (address & bpf_htonl(mask)) == bpf_htonl(prefix);
}

/* RFC 1141: the checksum follows the TTL without being computed anew. */
static __always_inline void decrement_ttl(struct iphdr *ip)
{
	__u32 check = ip->check + bpf_htons(0x0100);

	ip->check = check + (check >= 0xffff);
	ip->ttl--;
}

#endif
