/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The only structs and enums that cross to Python.
 *
 * tools/genabi reads this file's BTF and writes src/wayleave/dataplane/abi.py, so a typedef
 * here is a type there: be32 becomes IPv4Address, boot_ns BootNs, mac_addr Mac.  Integers are in
 * host byte order unless the typedef says be.  No packed structs, no bitfields, no unions, and
 * padding is written out: what is not named here does not cross.
 */
#ifndef WAYLEAVE_ABI_H
#define WAYLEAVE_ABI_H

typedef __u32 be32;          /* an IPv4 address as it stands on the wire */
typedef __u64 boot_ns;       /* CLOCK_BOOTTIME, what bpf_ktime_get_boot_ns() returns */
typedef __u8 mac_addr[6];    /* octets in wire order */

/* Numbers both sides need; module-level constants in Python. */
enum constant {
	PORT_MAX = 1024,         /* configured ports and host links */
	TENANT_MAX = 256,
	SERVICE_MAX = 8,
	BUCKET_COUNT = 65536,    /* hashed policer buckets of each kind: clients, lines, lines' use of the host link, samples of clients, of lines */
	PUNT_FRAME_MAX = 2048,
	SAMPLE_FRAME_MAX = 128,
	CAPTURE_FRAME_MAX = 2048,
	PORT_SLOTS = 4096,       /* of the map `ports`, a power of two */
	PORT_PROBES = 4,         /* slots a device may stand in */
	PREFIX_MAX = 16,         /* of a tenant */
	PREFIX_ALL = 0xffff,
	REPLY_SLOTS = 4096,      /* different DHCP replies at once; many sessions share one */
	REPLY_OPTIONS_MAX = 360, /* octets of options in one */
	NO_SESSION = 0xffffffff,
	METER_COST_BITS = 12,    /* of a nanosecond, behind the point, in `struct meter` */
	METER_TIME_BITS = 6,     /* the same in `usage_direction.metered_until` */
	PPPOE_MTU = 1492,        /* RFC 2516 7: to it the kernel fragments what goes to pools of PPPoE clients */
};

/* Load-time settings: `const volatile struct settings settings SEC(".rodata.settings")`, so that the
 * verifier removes what is switched off.  One struct in a section of its own, written whole. */
struct settings {
	__u32 fib_by_table;      /* 1: bpf_fib_lookup takes a table id (BPF_FIB_LOOKUP_TBID, kernel 6.5) */
	__u32 pad;
};

/* ---- Who sits where ------------------------------------------------------------------- */

enum port_kind {
	PORT_SUBSCRIBER = 1,     /* faces customers; nothing reaches the kernel's stack from here */
	PORT_NETWORK = 2,        /* faces the internet; the kernel owns what is not a subscriber's */
	PORT_HOST_LINK = 3,      /* the data plane's end of a tenant's veth pair to the kernel */
};

/* Map `ports`: an array, for every frame asks it.  A device stands in the slot of its ifindex modulo
 * PORT_SLOTS or in one of the PORT_PROBES - 1 behind it.  `number` is the configuration's and indexes
 * the map `egress`. */
struct port {
	__u16 number;
	__u16 kind;              /* enum port_kind */
	__u32 tenant;            /* of frames that no session claims */
	__u32 ifindex;           /* 0: the slot is free */
	mac_addr mac;            /* ours on this port; replies leave from it */
	__u16 mtu;               /* the device's, without the 14 octets of Ethernet */
	__u16 shared;            /* 1: a VLAN here is many lines', told apart by circuit-ids */
	__u16 pppoe;             /* 1: PPPoE is served here */
};

/* Map `tenants`: number -> this. */
struct tenant {
	__u32 table;             /* kernel route table, RT_TABLE_MAIN (254) for the default tenant */
	__u32 link_ifindex;      /* the kernel's end of the host link: a route that leaves there ends here */
	be32 address;            /* one of the gateway's own, that what it says of packets comes from; 0: none */
	__u16 link;              /* port number of the data plane's end of the host link, 0: none */
	mac_addr link_kernel;    /* MAC of the kernel's end */
	mac_addr link_ours;      /* MAC of the data plane's end */
	__u16 prefix_count;      /* of `prefixes`; PREFIX_ALL: more than fit, every address may be inside */
	__u8 prefixes[128];      /* PREFIX_MAX struct prefix: `hosts4` knows no address outside them */
};

struct prefix {
	be32 network;
	be32 mask;
};

/* ---- Sessions ------------------------------------------------------------------------- */

/* Map `clients`: this -> slot.  VIDs are the non-zero ones in the order they stand in the frame:
 * a single tag is the S-VID; TPID and priority are no part of the key. */
struct client_key {
	__u16 port;
	__u16 svid;
	__u16 cvid;
	__u16 pppoe;             /* PPPoE session-id, 0: IPoE */
	mac_addr mac;
	__u16 pad;
};

/* Map `hosts4`: this -> slot. */
struct host4_key {
	__u32 tenant;
	be32 address;
};

struct slot {
	__u32 row;               /* index into `sessions` */
	__u32 generation;        /* must equal the row's, or the key is stale */
	__u32 id;                /* the row's, so that both cache misses run side by side */
};

enum session_flag {
	SESSION_LOCAL = 1,       /* the gateway's own address: up the host link, no customer behind it */
	SESSION_CHECK_SOURCE = 2,/* antispoof */
	SESSION_CLAMP_MSS = 4,   /* of TCP, both ways, to what `mtu` has room for */
};

/* What stands in front of IPv4 toward the client, made ready by Python: destination, source, tags, type, and where it
 * is PPPoE that and PPP, of which only the length is left to fill in. */
struct encapsulation {
	__u16 port;              /* index into `egress` */
	__u8 length;             /* 14, 18 or 22 octets of `header`; with PPPoE 22, 26 or 30 */
	__u8 pppoe;              /* 1: it ends in PPPoE and PPP */
	__u8 pad[2];
	__u8 header[30];
	__u8 magic[4];           /* of PPP: ours, as it stands on the wire; zeros: Python answers LCP's echo requests */
};

/* How fast IP packets may go one way.  Bits a second are sold; an octet's cost is what the program multiplies:
 * 2^12 * 8e9 / rate, rounded down, so that nobody gets less than was sold.  8 kbit/s is 4,096,000,000 and fits;
 * at 400 Gbit/s it is 81 and no longer 81.92.  What is given above what was sold is less than 1/cost of it:
 * 1.24 % at 400 Gbit/s, 0.31 % at 100, 0.031 % at 10, 0.0031 % at 1 Gbit/s and below.  The burst is exact. */
struct meter {
	__u32 cost;              /* of an octet, in 1/4096 ns; 0: not metered */
	__u32 burst;             /* octets that may go at once; a larger packet never goes */
};

/* Map `sessions`: row -> this.  Two cache lines: upstream reads the first, downstream both.
 * Written only while no key points at it (memory-mapped), never by the BPF program. */
struct session {
	boot_ns promise_until;   /* past it nothing is renewed or forwarded; ~0 for LOCAL rows */
	__u32 generation;
	__u32 id;                /* stable index into `usage` */
	struct client_key client;/* who the row belongs to: a key that leads elsewhere is stale */
	be32 address;
	be32 netmask;            /* of the subnet the client was told; the gateway proxies ARP inside it */
	__u32 tenant;
	__u32 table;             /* the tenant's kernel route table */
	__u16 flags;             /* enum session_flag */
	__u16 mtu;               /* largest IP packet toward the client */
	__u32 reply;             /* index into `replies`, 0: Python answers this client's DHCP */
	struct meter up;         /* what the client sends */
	struct encapsulation encapsulation;
	__u64 form;              /* digest of the request's options that the reply was made for */
	__u64 agent;             /* digest of the option 82 that this client's access node adds, 0: none is believed */
	struct meter down;       /* what it is sent */
};

/* Map `replies`: index -> this.  The options of a DHCPACK as proto/dhcp4 encodes them: 53, 54, 51, 58, 59,
 * 1, then what the form asks for; the program adds options 61 and 82 as they came, and the end.
 * Written only while no row points at it; index 0 is nobody's. */
struct reply {
	__u64 lease_ns;          /* what it promises: a renewal that the row's promise does not cover goes up */
	be32 server;             /* option 54, and the IP source */
	__u32 sum;               /* of the octets as 16-bit words in the machine's order, carries added in */
	__u16 length;            /* octets of `options` */
	__u16 room;              /* octets of options that the client takes in all, the end apart */
	__u8 pad[4];
	__u8 options[REPLY_OPTIONS_MAX];
};

/* What became of each DHCP message from a subscriber port.  From UP_NEW on: it went on to Python, untouched,
 * because … */
enum dhcp4_result {
	DHCP4_OFFERED = 0,       /* a DISCOVER of a client with a lease, answered with that */
	DHCP4_ACKED = 1,         /* a REQUEST of a client with a lease: renewed */
	DHCP4_UP_NEW = 2,        /* the client has no session */
	DHCP4_UP_NO_REPLY = 3,   /* its row has no reply: never confirmed with options that fit, or a longer lease is due */
	DHCP4_UP_FRAME = 4,      /* other tags than the row's, IP options, a wrong checksum, a long or odd datagram */
	DHCP4_UP_HEADER = 5,     /* not what a client of this line sends: op, hlen, cookie, giaddr, chaddr */
	DHCP4_UP_OPTIONS = 6,    /* cut off, overloaded, one that matters twice or of a wrong length */
	DHCP4_UP_TYPE = 7,       /* neither DISCOVER nor REQUEST */
	DHCP4_UP_ADDRESS = 8,    /* it asks for, or has, another address than the session's */
	DHCP4_UP_SERVER = 9,     /* it chose another server */
	DHCP4_UP_FORM = 10,      /* it asks for other options than the reply was made for */
	DHCP4_UP_AGENT = 11,     /* an option 82 that Python has not seen from this client */
	DHCP4_UP_PROMISE = 12,   /* the promise does not cover another lease: Python extends it on disk first */
	DHCP4_UP_ROOM = 13,      /* the reply is more than the client takes, or than the frame can grow to */
	DHCP4_UP_RATE = 14,      /* the answer would be broadcast, and the client's rate is used up */
	DHCP4_RESULT_COUNT = 15,
};
/* Map `dhcp4` (per CPU), index enum dhcp4_result. */

/* Map `usage`: id -> this.  Written by the BPF program only, counters by atomic adds; a cache line a
 * direction.  Octets are those of IP packets, without the link's encapsulation. */
struct usage_direction {
	__u64 packets;
	__u64 octets;
	__u64 dropped;           /* packets */
	boot_ns seen;            /* upstream: last packet that antispoof passed, to within a second */
	boot_ns renewed;         /* upstream: last lease renewal, or LCP echo, that the kernel answered */
	boot_ns asked;           /* upstream: last packet that left for the network, to within a second */
	__u32 heard;             /* upstream: how many packets had come down by then, in 32 bits */
	__u32 unanswered;        /* upstream: how many times in a row `asked` moved on, and none had come since */
	__u64 metered_until;     /* the meter's virtual time (GCRA): boot time in 1/64 ns, for nine years of it */
};
struct usage {
	struct usage_direction up;
	struct usage_direction down;
};

/* ---- What became of each packet -------------------------------------------------------- */

enum stage {
	STAGE_PARSE = 0,
	STAGE_SESSION = 1,
	STAGE_ARP = 2,
	STAGE_DHCP4 = 3,
	STAGE_PPPOE = 4,
	STAGE_PUNT = 5,
	STAGE_ADMIT = 6,
	STAGE_ANTISPOOF = 7,
	STAGE_METER = 8,
	STAGE_MSS = 9,
	STAGE_FORWARD = 10,
	STAGE_HOST = 11,
	STAGE_DELIVER = 12,
	STAGE_COUNT = 13,
};

/* Each packet ends in exactly one stage with exactly one of these. */
enum outcome {
	OUTCOME_DROPPED = 0,     /* and one more in `drops` under its reason */
	OUTCOME_ANSWERED = 1,    /* sent back out of the port it came in by */
	OUTCOME_PUNTED = 2,      /* to Python through the ring */
	OUTCOME_TO_SUBSCRIBER = 3,
	OUTCOME_TO_NETWORK = 4,
	OUTCOME_TO_HOST = 5,     /* up the tenant's host link */
	OUTCOME_PASSED = 6,      /* a network port's own traffic, to the kernel on that port */
	OUTCOME_COUNT = 7,
};

/* Map `received` (per CPU), index enum port_kind: frames that entered. Their sum equals `outcomes`'. */
/* Map `outcomes` (per CPU), index stage * OUTCOME_COUNT + outcome. */
/* Map `drops` (per CPU), index enum drop_reason. */
enum drop_reason {
	DROP_NONE = 0,
	DROP_UNKNOWN_PORT = 1,          /* the device is not configured */
	DROP_TRUNCATED = 2,             /* a header ends past the frame */
	DROP_TOO_MANY_TAGS = 3,         /* more than two VLAN tags */
	DROP_ETHERTYPE = 4,             /* nothing here speaks it */
	DROP_SOURCE_MAC = 5,            /* multicast or zero source MAC */
	DROP_MALFORMED_IPV4 = 6,        /* version, header length or total length */
	DROP_MALFORMED_ARP = 7,         /* not ARP of IPv4 over Ethernet */
	DROP_NO_SESSION = 8,            /* a client that was given no address */
	DROP_STALE_KEY = 9,             /* key and row disagree: the row has moved on */
	DROP_PROMISE_PAST = 10,         /* the lease's promise has run out */
	DROP_NOT_FOR_GATEWAY = 11,      /* a unicast frame to another MAC */
	DROP_SPOOFED_IPV4 = 12,         /* source is not the session's address */
	DROP_SPOOFED_ARP = 13,          /* sender is not the session's address */
	DROP_ARP_OWN = 14,              /* a probe for or announcement of the asker's own address: never answered */
	DROP_ARP_ELSEWHERE = 15,        /* target outside the client's subnet, or not a request */
	DROP_MULTICAST = 16,            /* to 224/4: there is no multicast service */
	DROP_BROADCAST = 17,            /* to 255.255.255.255 or in a group frame, and not DHCP */
	DROP_BOGUS_DESTINATION = 18,    /* 0/8, 127/8, 240/4 */
	DROP_NO_ROUTE = 19,             /* the tenant's route table has none */
	DROP_BLACKHOLE = 20,            /* the route says so */
	DROP_NO_SUBSCRIBER = 21,        /* a pool address nobody holds */
	DROP_LOCAL_SERVICE = 22,        /* to the gateway itself: not ICMP echo nor a declared service */
	DROP_LINK_POLICED = 23,         /* too much for the kernel to answer, or of what is too big for PPPoE */
	DROP_NO_LINK = 24,              /* the tenant has no host link */
	DROP_FORWARDING_OFF = 25,       /* net.ipv4.ip_forward is 0 */
	DROP_PUNT_CLASS = 26,           /* the class's rate is used up */
	DROP_PUNT_LINE = 27,            /* the line's rate is used up */
	DROP_PUNT_CLIENT = 28,          /* the client's rate is used up */
	DROP_PUNT_RING = 29,            /* the ring is full, or half full and this a new arrival */
	DROP_ADJUST_HEAD = 30,          /* no headroom for the encapsulation */
	DROP_LINK_NOISE = 31,           /* non-IPv4 from the kernel's end of the host link */
	DROP_DHCP_FRAGMENT = 32,        /* DHCP in fragments is refused */
	DROP_TOO_BIG = 33,              /* more than the client's MTU, from the kernel or not to be answered; more than a punt record, to Python */
	DROP_NO_EGRESS = 34,            /* the port it must leave by is not in `egress` */
	DROP_METERED_UP = 35,           /* more than the client's service lets it send */
	DROP_METERED_DOWN = 36,         /* more than the receiving client's service lets it be sent */
	DROP_MALFORMED_PPPOE = 37,      /* version, code, session-id or length */
	DROP_PPP_PROTOCOL = 38,         /* PPP that carries data, and not IPv4 */
	DROP_PPPOE_NOT_SERVED = 39,     /* PPPoE, where the port's protocols do not have it */
	DROP_COUNT = 40,
};

/* ---- The punt ring --------------------------------------------------------------------- */

/* Of DHCP and of PPPoE, from the most to the least worth keeping. */
enum punt_class {
	PUNT_DHCP4_KNOWN = 0,    /* from a client with a session: renewals, releases */
	PUNT_DHCP4_NEW = 1,
	PUNT_PPP_KNOWN = 2,      /* LCP and what else controls PPP, of a session with an address */
	PUNT_PPP_NEW = 3,        /* of one on its way to it, or of none */
	PUNT_PPPOE_DISCOVERY = 4,
	PUNT_CLASS_COUNT = 5,
};

enum punt_result {
	PUNT_SENT = 0,
	PUNT_REFUSED_CLASS = 1,
	PUNT_REFUSED_LINE = 2,
	PUNT_REFUSED_CLIENT = 3,
	PUNT_REFUSED_RING = 4,
	PUNT_RESULT_COUNT = 5,
};
/* Map `punts` (per CPU), index class * PUNT_RESULT_COUNT + result. */

/* A ring record: this, then `length` octets of the frame as it arrived, tags included. */
struct punt {
	boot_ns at;
	__u32 session;           /* the session's id, NO_SESSION: none */
	__u16 port;
	__u16 svid;
	__u16 cvid;
	__u16 class;             /* enum punt_class */
	__u16 length;            /* octets of the frame */
	__u16 l3;                /* offset in the frame of the IP header, of PPPoE's in what is no IP */
	__u16 pppoe;             /* session-id in PPPoE's header, 0: none */
	__u8 pad[6];
};

/* ---- Samples of what is dropped -------------------------------------------------------- */

enum sample_result {
	SAMPLE_SENT = 0,
	SAMPLE_POLICED = 1,      /* of this client and reason, of the line, or of all, there were enough just now */
	SAMPLE_LOST = 2,         /* the ring is full */
	SAMPLE_RESULT_COUNT = 3,
};
/* Map `samples` (per CPU), index enum sample_result: every dropped packet of a configured port is in one. */

/* A record of the ring `sampled`: this, then the frame's first octets as it stood when it was dropped. */
struct sample {
	boot_ns at;
	__u32 session;           /* id of the client it is from, or on network ports for; NO_SESSION: none */
	__u32 length;            /* octets of the frame; of which the record has at most SAMPLE_FRAME_MAX */
	__u16 port;              /* it came in by */
	__u16 svid;
	__u16 cvid;
	__u8 reason;             /* enum drop_reason */
	__u8 stage;
	mac_addr source;
	__u16 pppoe;             /* PPPoE session-id, 0: none */
};

/* ---- Capture --------------------------------------------------------------------------- */

/* Map `captures`, index 0: whose packets the capture programs put into the ring.  Those are the programs of the
 * ports, in their place while `bng capture` runs; all zeros: nobody's. */
struct capture_filter {
	mac_addr mac;
	__u16 port;              /* 0: whatever port it is on */
	__u16 svid;
	__u16 cvid;
	__u16 tagged;            /* 1: only behind these tags */
	__u16 pad;
};

enum capture_side {
	CAPTURE_CAME = 0,        /* as it came in */
	CAPTURE_LEFT = 1,        /* as it leaves */
};

/* A record of the ring `captured`: this, then the frame, up to CAPTURE_FRAME_MAX octets of it. */
struct captured {
	boot_ns at;
	__u32 length;            /* octets of the frame */
	__u16 port;              /* it came in by, or leaves by */
	__u8 side;               /* enum capture_side */
	__u8 stage;              /* where and how it ended */
	__u8 outcome;
	__u8 reason;
	__u8 pad[6];
};

enum capture_result {
	CAPTURE_TAKEN = 0,
	CAPTURE_LOST = 1,        /* the ring is full */
	CAPTURE_RESULT_COUNT = 2,
};
/* Map `capture_results` (per CPU), index enum capture_result. */

/* ---- What `bng explain` is told -------------------------------------------------------- */

/* Map `explanation`, index 0: what became of the packet that an explain program ran over.  Those are the
 * programs of the ports, on the same tables, that count, charge, send up and remember nothing. */
struct explanation {
	__u32 outcome;           /* enum outcome */
	__u32 reason;            /* enum drop_reason */
	__u32 dhcp4;             /* enum dhcp4_result, DHCP4_RESULT_COUNT: not DHCP */
	__u32 session;           /* id of the client it is from, or on network ports for; NO_SESSION: none */
	__u32 receiver;          /* id of the client it is delivered to, NO_SESSION: none */
	__u32 out;               /* number of the port it leaves by, 0: none */
	__u32 step_count;
	__u8 steps[12];          /* enum stage, in the order they ran; the last one ended the packet */
};

/* ---- Policers: virtual time in one word (GCRA) ------------------------------------------ */

/* Map `policers`: index enum policer -> this.  A packet passes while the bucket's virtual time is
 * no more than `burst_ns` ahead of now, and moves it on by `cost_ns`.  cost 0: not policed. */
enum policer {
	POLICE_DHCP4_KNOWN = 0,  /* whole class */
	POLICE_DHCP4_NEW = 1,
	POLICE_PPP_KNOWN = 2,
	POLICE_PPP_NEW = 3,
	POLICE_PPPOE_DISCOVERY = 4,
	POLICE_LINE = 5,         /* DHCP of one (port, S, C) */
	POLICE_CLIENT = 6,       /* DHCP of one (port, S, C, MAC) */
	POLICE_SHARED = 7,       /* DHCP of one (port, S, C) that many lines share */
	POLICE_PPPOE_LINE = 8,   /* the same of PPPoE, discovery and PPP together */
	POLICE_PPPOE_CLIENT = 9,
	POLICE_PPPOE_SHARED = 10,
	POLICE_LINK = 11,        /* whole host links: packets for the kernel to answer */
	POLICE_LINK_LINE = 12,   /* the same for one (port, S, C), in shared VLANs one MAC; one source on network ports;
				  * and packets too big for a PPPoE client, which the program answers */
	POLICE_SAMPLE = 13,      /* samples of dropped packets: all together */
	POLICE_SAMPLE_CLIENT = 14,/* of one client and reason; without a session on network ports one source and reason */
	POLICE_SAMPLE_LINE = 15, /* of what one (port, S, C) sends */
	POLICE_SAMPLE_METERED = 16,/* in the place of POLICE_SAMPLE: of what meters drop */
	POLICER_COUNT = 17,
};
struct policer_rate {
	__u64 cost_ns;
	__u64 burst_ns;
};

/* Map `services`: index -> this; what besides ICMP echo reaches the gateway itself. */
struct service {
	__u16 port;              /* host order, 0: unused */
	__u8 protocol;           /* IPPROTO_TCP, IPPROTO_UDP */
	__u8 pad;
};

#endif
