/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A DHCP request as the program reads it: a copy of the datagram, and where its options lie.
 *
 * Options may stand anywhere and are of any length, so they are walked over a per-CPU copy, with offsets
 * bounded by a mask.  The two loops are global functions, which the verifier looks at once each; where the
 * walk stands is kept in the copy, so that every turn of it looks the same to the verifier.
 * Source: RFC 2131 2 and 4.1, RFC 2132, RFC 3396.
 */
#ifndef WAYLEAVE_DHCP4_REQUEST_H
#define WAYLEAVE_DHCP4_REQUEST_H

#include "packet.h"

#define DHCP4_SERVER_PORT bpf_htons(67)
#define DHCP4_CLIENT_PORT bpf_htons(68)
#define DHCP4_BROADCAST bpf_htons(0x8000)
#define DHCP4_COOKIE bpf_htonl(0x63825363)
#define BOOTREQUEST 1
#define BOOTREPLY 2
#define DHCP4_DISCOVER 1
#define DHCP4_OFFER 2
#define DHCP4_REQUEST 3
#define DHCP4_ACK 5

#define DATAGRAM_MAX 1024			/* octets of UDP, a power of two; what is longer goes up */
#define DATAGRAM_MASK (DATAGRAM_MAX - 1)
#define SUM_MAX 512				/* what bpf_csum_diff takes at once before kernel 6.13 */
#define PADDED 60				/* octets of options that fill a message up to 300 (RFC 1542 2.1) */
#define STEPS_MAX 64				/* options and pads; a client that sends more goes up */
#define ECHO_MAX 1024				/* room for options 61 and 82, the end, and what masks allow */

/* RFC 2131 2; the options follow. */
struct bootp {
	__u8 op;
	__u8 htype;
	__u8 hlen;
	__u8 hops;
	__be32 xid;
	__be16 secs;
	__be16 flags;
	be32 ciaddr;
	be32 yiaddr;
	be32 siaddr;
	be32 giaddr;
	__u8 chaddr[16];
	__u8 sname[64];
	__u8 file[128];
	__be32 cookie;
};

#define UDP_LENGTH 8
#define OPTIONS_AT (UDP_LENGTH + sizeof(struct bootp))	/* in the datagram */

/* The options that decide about an answer. */
enum asked {
	ASKED_NONE = 0,				/* any other */
	ASKED_ADDRESS,				/* 50 */
	ASKED_OVERLOAD,				/* 52 */
	ASKED_TYPE,				/* 53 */
	ASKED_SERVER,				/* 54 */
	ASKED_LIST,				/* 55 */
	ASKED_SIZE,				/* 57 */
	ASKED_VENDOR,				/* 60 */
	ASKED_CLIENT,				/* 61 */
	ASKED_USER,				/* 77 */
	ASKED_AGENT,				/* 82 */
	ASKED_COUNT,
	ASKED_SLOTS = 16,			/* of the table, a power of two */
};

/* Where an option's octets begin in the datagram (0: it is not there), and how many they are. */
struct place {
	__u16 at;
	__u16 length;
};

/* The copy of the datagram in hand, UDP header and all, and what was found in it. */
struct request {
	__u8 datagram[DATAGRAM_MAX + 8];	/* and a word to spare */
	struct place places[ASKED_SLOTS];
	__u64 at;				/* where the walk stands */
	__u8 echo[ECHO_MAX];			/* the end of the answer: options 61 and 82 as they came, the end */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct request);
} request_in_hand SEC(".maps");

static __always_inline enum asked which(__u8 code)
{
	switch (code) {
	case 50:
		return ASKED_ADDRESS;
	case 52:
		return ASKED_OVERLOAD;
	case 53:
		return ASKED_TYPE;
	case 54:
		return ASKED_SERVER;
	case 55:
		return ASKED_LIST;
	case 57:
		return ASKED_SIZE;
	case 60:
		return ASKED_VENDOR;
	case 61:
		return ASKED_CLIENT;
	case 77:
		return ASKED_USER;
	case 82:
		return ASKED_AGENT;
	default:
		return ASKED_NONE;
	}
}

/* Find the options of a datagram of `length` octets.  0, or -1: one passes the end, or one that matters
 * stands there twice, or they are too many. */
__noinline int find_options(struct request *request, __u32 length)
{
	struct place *place;
	__u32 i, at, size;
	__u8 code;

	if (!request)
		return -1;
	__builtin_memset(request->places, 0, sizeof(request->places));
	request->at = OPTIONS_AT;
	for (i = 0; i < STEPS_MAX; i++) {
		at = *(volatile __u64 *)&request->at;
		if (at >= length)
			return 0;
		at &= DATAGRAM_MASK;
		code = request->datagram[at];
		if (code == 255)
			return 0;
		if (!code) {
			request->at = at + 1;
			continue;
		}
		size = request->datagram[at + 1];
		request->at = at + 2 + size;
		if (at + 2 + size > length)
			return -1;
		place = &request->places[which(code) & (ASKED_SLOTS - 1)];
		if (place == &request->places[ASKED_NONE])
			continue;
		if (place->at)
			return -1;
		place->at = at + 2;
		place->length = size;
	}
	return -1;
}

static __always_inline __u64 mix(__u64 digest, __u64 word)
{
	digest = (digest ^ word) * 0x9e3779b97f4a7c15ULL;
	return digest ^ digest >> 32;
}

/* A digest of an option: its code and length, then its octets in little-endian words, the last one
 * filled up with zeros.  0: it is not there.  dataplane/digest.py computes the same. */
static __always_inline __u64 digest_option(const struct request *request, enum asked asked, __u32 code)
{
	const struct place *place = &request->places[asked];
	__u32 at = place->at, left = place->length & 0xff, i;
	__u64 digest, word;

	if (!at)
		return 0;
	digest = mix(0, code << 8 | left);
	for (i = 0; i < 32 && left; i++) {
		word = *(const __u64 *)&request->datagram[at & DATAGRAM_MASK];
		at += 8;
		if (left < 8) {
			word &= (1ULL << left * 8) - 1;
			left = 8;
		}
		left -= 8;
		digest = mix(digest, word);
	}
	return digest;
}

/* What of a request shapes the answer's options: what it lists, how much it takes, and what it says it is. */
__noinline __u64 digest_form(const struct request *request)
{
	if (!request)
		return 0;
	return digest_option(request, ASKED_LIST, 55) + digest_option(request, ASKED_SIZE, 57) +
	       digest_option(request, ASKED_VENDOR, 60) + digest_option(request, ASKED_USER, 77);
}

/* What the access node says of the client.  0: nothing; or it was made up to come to that. */
__noinline __u64 digest_agent(const struct request *request)
{
	return request ? digest_option(request, ASKED_AGENT, 82) : 0;
}

/* The message type, 0 if there is none: BOOTP. */
static __always_inline __u8 type_option(const struct request *request)
{
	const struct place *place = &request->places[ASKED_TYPE];

	return place->at ? request->datagram[place->at & DATAGRAM_MASK] : 0;
}

/* An option of four octets in network order, or `otherwise` if it is not there. */
static __always_inline be32 address_option(const struct request *request, enum asked asked, be32 otherwise)
{
	const struct place *place = &request->places[asked];

	return place->at ? *(const be32 *)&request->datagram[place->at & DATAGRAM_MASK] : otherwise;
}

/* Whether an option is absent or of the length that it must have. */
static __always_inline int has_length(const struct request *request, enum asked asked, __u32 length)
{
	return !request->places[asked].at || request->places[asked].length == length;
}

/* Whether the options that decide are of their lengths, and none is hidden in `sname` or `file`. */
static __always_inline int are_sound(const struct request *request)
{
	return !request->places[ASKED_OVERLOAD].at && has_length(request, ASKED_TYPE, 1) &&
	       has_length(request, ASKED_ADDRESS, 4) && has_length(request, ASKED_SERVER, 4);
}

#endif
