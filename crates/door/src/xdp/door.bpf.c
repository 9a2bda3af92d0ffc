// The door in the driver: what strangers send to the gateway's port is dropped before the kernel makes anything of it.
//
//     clang-14 -O2 -Wall -Werror -target bpf -c door.bpf.c -o door.bpf.o      (Debian 12: clang-14)
//
// The object lies beside this file, and `tests/xdp/object.rs` compiles it again and compares. It takes no header but this
// file, no debug information and no BTF, so that the same bytes come out of any folder.
//
// A packet is the gateway's if it is UDP to an address and port of `guarded`. Of those pass
//   - one from a source in `live`, until its time;
//   - one with a long header of QUIC whose destination connection id, or "I moved" or a tag datagram whose tag, is one of a ticket
//     in `tickets` by its first eight bytes, until its time, from an address that the admission accepts. Which tags the ticket has,
//     and which of them are spent, user space knows.
// The others are dropped, fragments of them included: no datagram of QUIC may be fragmented (RFC 9000, section 14). Every
// other packet passes: another protocol, address or port, fragments that are not the first of their datagram, and what is
// neither IPv4 nor IPv6. A packet to an address of the gateway that does not show its port, although it may be the first of
// a fragmented datagram to any port, is dropped.
//
// Where UDP begins is known beforehand in all packets but those with options or extension headers. Those few are read by a
// call, for the kernel lets a program compute its way through a packet only with CAP_PERFMON, by which one may also read
// the kernel's memory. So CAP_BPF and CAP_NET_ADMIN are enough, and the kernel must be 5.18 or later.
//
// User space (xdp/program.rs) writes the maps. All numbers of a packet are in network order there, too; addresses of IPv4
// are mapped into IPv6; times are nanoseconds of CLOCK_MONOTONIC. With `tickets` and `live` empty, the port is shut.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static __attribute__((always_inline)) inline
// All machines whose objects these are have the small end first.
#define NET16(number) __builtin_bswap16(number)

// DROP and PASS are the kernel's; the others are ours: what has been read so far is UDP, or does not show its port.
enum verdict { DROP = 1, PASS = 2, IS_UDP, UNREADABLE };

// struct xdp_md of linux/bpf.h, as far as it is used.
struct packet {
	u32 begin;
	u32 end;
};

// bpf_map_def: what a loader makes a map of.
struct map {
	u32 type, key_len, value_len, entries, flags, id, pinning;
};

enum { HASH = 1, ARRAY = 2, ARRAY_PER_CPU = 6 };
enum { GROWS_AS_NEEDED = 1 };

static void *(*const look_up)(const void *map, const void *key) = (void *)1;
static u64 (*const now)(void) = (void *)5;
static long (*const load_bytes)(const void *packet, u32 offset, void *to, u32 len) = (void *)189;

// An address with a port, both as they stand in packets.
struct place {
	u32 address[4];
	// The port's two bytes, and two of zero. Written at once, for it is soon read at once.
	u32 port;
};

// What the tags of an admission begin with.
struct ticket {
	u32 bytes[2];
};

struct admission {
	u64 until;
	// Bits of the source's address that must agree with the announced one's.
	u64 mask[2];
	u64 announced[2];
};

// One bit for each port number that anything is guarded at: 1,024 words of 64 bits.
struct map ports SECTION("maps") = { ARRAY, sizeof(u32), sizeof(u64), 1024 };
// Where the gateway listens. Each of its addresses stands there with port 0, too.
struct map guarded SECTION("maps") = { HASH, sizeof(struct place), sizeof(u32), 4096, GROWS_AS_NEEDED };
// One of these again, or zeros: of what comes to the gateway most comes to one place, and to compare is faster than to look up.
struct map first SECTION("maps") = { ARRAY, sizeof(u32), sizeof(struct place), 1 };
struct map tickets SECTION("maps") = { HASH, sizeof(struct ticket), sizeof(struct admission), 1, GROWS_AS_NEEDED };
struct map live SECTION("maps") = { HASH, sizeof(struct place), sizeof(u64), 1, GROWS_AS_NEEDED };
// Packets of the gateway: dropped, passed by a tag, passed by their source.
struct map counts SECTION("maps") = { ARRAY_PER_CPU, sizeof(u32), sizeof(u64), 3 };

enum count { DROPPED, BY_TAG, BY_SOURCE };

INLINE enum verdict counted(u32 count, enum verdict verdict)
{
	u64 *packets = look_up(&counts, &count);

	if (packets)
		*packets += 1;
	return verdict;
}

enum { ETHERNET_LEN = 14, AT_ETHER_TYPE = 12, VLAN_LEN = 4 };
enum { TYPE_VLAN = NET16(0x8100), TYPE_SERVICE_VLAN = NET16(0x88a8), TYPE_IP4 = NET16(0x0800), TYPE_IP6 = NET16(0x86dd) };
enum { HOP_OPTIONS = 0, UDP = 17, ROUTING = 43, FRAGMENT = 44, DESTINATION_OPTIONS = 60 };
// Headers between IPv6 and UDP.
enum { MAX_EXTENSIONS = 8 };

// A datagram, while its headers are being read.
struct datagram {
	const struct packet *packet;
	// Where it goes on, and where the packet ends.
	const u8 *at;
	const u8 *end;
	// How far that is from the packet's begin; if it was computed from the packet, only this is right.
	u32 offset;
	int is_computed;
	// Compared in words of eight bytes.
	struct place from __attribute__((aligned(8))), to;
	// It is the first of several fragments.
	int in_fragments;
};

#define HAS(datagram, bytes) ((datagram)->at + (bytes) <= (datagram)->end)

INLINE void skip(struct datagram *it, u32 bytes)
{
	it->at += bytes;
	it->offset += bytes;
}

// A datagram whose port can't be read.
INLINE enum verdict unreadable(struct datagram *it)
{
	it->to.port = 0;
	if (look_up(&guarded, &it->to))
		return counted(DROPPED, DROP);
	return PASS;
}

INLINE int is_first(const struct place *to)
{
	u32 zero = 0;
	const struct place *it = look_up(&first, &zero);

	return it && to->port == it->port && to->address[3] == it->address[3] && to->address[2] == it->address[2] &&
	       to->address[1] == it->address[1] && to->address[0] == it->address[0];
}

INLINE int is_guarded(const struct place *to)
{
	if (is_first(to))
		return 1;

	u32 port = NET16(to->port), word = port >> 6;
	u64 *bits = look_up(&ports, &word);

	return bits && *bits >> (port & 63) & 1 && look_up(&guarded, to);
}

INLINE int is_live(const struct place *from)
{
	u64 *until = look_up(&live, from);

	return until && *until > now();
}

struct udp {
	u16 from, to, len, checksum;
};

INLINE int read_udp(const struct datagram *it, struct udp *udp)
{
	if (it->is_computed)
		return !load_bytes(it->packet, it->offset, udp, sizeof(*udp));
	if (!HAS(it, sizeof(*udp)))
		return 0;

	const struct udp *there = (const struct udp *)it->at;

	udp->from = there->from;
	udp->to = there->to;
	udp->len = there->len;
	return 1;
}

// What a long header begins with (RFC 9000, section 17.2).
struct first {
	// So that the id has its place in memory.
	u8 nothing[2];
	u8 flags;
	u8 version[4];
	u8 id_len;
	struct ticket ticket;
	u8 rest_of_tag[12];
};

// "I moved" (docs/protocol.md, R2) and the tag datagram (D0) have their tag in the same place, and these in the place of the flags.
enum { FIRST_LEN = sizeof(struct first) - 2, LONG_HEADER = 0xc0, TAG_DATAGRAM = 4, MOVED = 5 };
enum { AT_ID_LEN = sizeof(struct udp) + 5, AT_ID = sizeof(struct udp) + 6, TAG_LEN = 20 };

INLINE int read_first(const struct datagram *it, struct first *first)
{
	if (it->is_computed)
		return !load_bytes(it->packet, it->offset + sizeof(struct udp), &first->flags, FIRST_LEN);
	if (!HAS(it, sizeof(struct udp) + FIRST_LEN))
		return 0;
	first->flags = it->at[sizeof(struct udp)];
	first->id_len = it->at[AT_ID_LEN];
	first->ticket = *(const struct ticket *)(it->at + AT_ID);
	return 1;
}

// Whether this is a first packet with a tag whose ticket opens for its source.
INLINE int bears_tag(const struct datagram *it)
{
	struct first first;

	if (!read_first(it, &first))
		return 0;
	if ((first.flags & LONG_HEADER) != LONG_HEADER && first.flags != MOVED && first.flags != TAG_DATAGRAM)
		return 0;
	if (first.id_len != TAG_LEN)
		return 0;

	const struct admission *admission = look_up(&tickets, &first.ticket);
	const u64 *from = (const u64 *)it->from.address;

	if (!admission || admission->until <= now())
		return 0;
	return !((from[0] ^ admission->announced[0]) & admission->mask[0]) &&
	       !((from[1] ^ admission->announced[1]) & admission->mask[1]);
}

INLINE enum verdict to_udp(struct datagram *it, const struct udp *udp)
{
	it->to.port = udp->to;
	if (!is_guarded(&it->to))
		return PASS;
	if (it->in_fragments)
		return counted(DROPPED, DROP);
	it->from.port = udp->from;
	if (is_live(&it->from))
		return counted(BY_SOURCE, PASS);
	if (NET16(udp->len) >= sizeof(*udp) + FIRST_LEN && bears_tag(it))
		return counted(BY_TAG, PASS);
	return counted(DROPPED, DROP);
}

INLINE void mapped(struct place *place, u32 address)
{
	place->address[2] = NET16(0xffff) << 16;
	place->address[3] = address;
}

enum { IP4_LEN = 20, AT_FRAGMENT = 6, AT_PROTOCOL = 9, AT_FROM4 = 12, AT_TO4 = 16 };
enum { MORE_FRAGMENTS4 = 0x2000, OFFSET4 = 0x1fff };

INLINE enum verdict ip4(struct datagram *it)
{
	const u8 *ip = it->at;

	if (!HAS(it, IP4_LEN) || ip[0] >> 4 != 4 || ip[AT_PROTOCOL] != UDP)
		return PASS;

	u16 fragment = NET16(*(const u16 *)(ip + AT_FRAGMENT));
	u32 len = (ip[0] & 15) * 4;

	// A header shorter than its fixed part: the kernel drops it.
	if (fragment & OFFSET4 || len < IP4_LEN)
		return PASS;
	it->in_fragments = fragment & MORE_FRAGMENTS4;
	mapped(&it->from, *(const u32 *)(ip + AT_FROM4));
	mapped(&it->to, *(const u32 *)(ip + AT_TO4));
	if (len == IP4_LEN) {
		skip(it, IP4_LEN);
	} else {
		it->is_computed = 1;
		it->offset += len;
	}
	return IS_UDP;
}

enum { IP6_LEN = 40, AT_NEXT = 6, AT_FROM6 = 8, AT_TO6 = 24 };
enum { MORE_FRAGMENTS6 = 1, OFFSET6 = 0xfff8 };

struct extension {
	u8 next;
	// In units of eight bytes, the first of which does not count.
	u8 len;
	// Of a fragment header.
	u16 fragment;
	u32 identification;
};

// The headers between IPv6 and UDP.
INLINE enum verdict extensions(struct datagram *it, u8 next)
{
	it->is_computed = 1;
	for (int extensions = 0; extensions <= MAX_EXTENSIONS; extensions++) {
		struct extension extension;

		if (next == UDP)
			return IS_UDP;
		if (next != HOP_OPTIONS && next != ROUTING && next != FRAGMENT && next != DESTINATION_OPTIONS)
			return PASS;
		if (load_bytes(it->packet, it->offset, &extension, sizeof(extension)))
			return UNREADABLE;
		if (next == FRAGMENT) {
			u16 fragment = NET16(extension.fragment);

			if (fragment & OFFSET6)
				return PASS;
			it->in_fragments |= fragment & MORE_FRAGMENTS6;
			it->offset += sizeof(extension);
		} else {
			it->offset += (extension.len + 1) * sizeof(extension);
		}
		next = extension.next;
	}
	return UNREADABLE;
}

INLINE enum verdict ip6(struct datagram *it)
{
	const u8 *ip = it->at;

	if (!HAS(it, IP6_LEN) || ip[0] >> 4 != 6)
		return PASS;
	__builtin_memcpy(it->from.address, (const u32 *)(ip + AT_FROM6), sizeof(it->from.address));
	__builtin_memcpy(it->to.address, (const u32 *)(ip + AT_TO6), sizeof(it->to.address));
	skip(it, IP6_LEN);
	return ip[AT_NEXT] == UDP ? IS_UDP : extensions(it, ip[AT_NEXT]);
}

INLINE enum verdict judged(struct datagram *it, enum verdict headers)
{
	struct udp udp;

	if (headers == PASS)
		return PASS;
	if (headers == IS_UDP && read_udp(it, &udp))
		return to_udp(it, &udp);
	return unreadable(it);
}

INLINE struct datagram begin(const struct packet *packet)
{
	struct datagram it = { .packet = packet, .at = (u8 *)(u64)packet->begin, .end = (u8 *)(u64)packet->end };

	return it;
}

// For interfaces whose packets begin with an Ethernet header; at most two VLAN tags behind it.
SECTION("xdp") int vestibule_door(struct packet *packet)
{
	struct datagram it = begin(packet);

	if (!HAS(&it, ETHERNET_LEN))
		return PASS;

	u16 type = *(const u16 *)(it.at + AT_ETHER_TYPE);

	skip(&it, ETHERNET_LEN);
#pragma clang loop unroll(full)
	for (int vlans = 0; vlans < 2; vlans++) {
		if (type == TYPE_VLAN || type == TYPE_SERVICE_VLAN) {
			if (!HAS(&it, VLAN_LEN))
				return PASS;
			type = *(const u16 *)(it.at + 2);
			skip(&it, VLAN_LEN);
		}
	}

	enum verdict headers = type == TYPE_IP4 ? ip4(&it) : type == TYPE_IP6 ? ip6(&it) : PASS;

	return judged(&it, headers);
}

// For interfaces whose packets begin with the IP header: tunnels.
SECTION("xdp") int vestibule_ip(struct packet *packet)
{
	struct datagram it = begin(packet);

	if (!HAS(&it, 1))
		return PASS;

	enum verdict headers = *it.at >> 4 == 4 ? ip4(&it) : ip6(&it);

	return judged(&it, headers);
}

// Helpers that this program calls are open to every licence.
char _license[] SECTION("license") = "Apache-2.0 OR MIT";
