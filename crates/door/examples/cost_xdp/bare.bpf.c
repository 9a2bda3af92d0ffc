// What the door in the driver is measured beside: packets of strangers, a program that drops them all, and one that reads
// the headers and looks once at a map. Compiled as src/xdp/door.bpf.c is.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SECTION(name) __attribute__((section(name), used))
#define NET16(number) __builtin_bswap16(number)

enum verdict { DROP = 1, PASS = 2, BACK = 3 };
enum { HASH = 1, GROWS_AS_NEEDED = 1 };
enum { ETHERNET_LEN = 14, IP4_LEN = 20, UDP_LEN = 8, UDP = 17, PORT = 4434 };

struct packet {
	u32 begin;
	u32 end;
};

struct map {
	u32 type, key_len, value_len, entries, flags, id, pinning;
};

struct source {
	u32 address;
	u32 port;
};

static void *(*const look_up)(const void *map, const void *key) = (void *)1;
static u32 (*const random)(void) = (void *)7;

struct map allowed SECTION("maps") = { HASH, sizeof(struct source), sizeof(u64), 131072, GROWS_AS_NEEDED };

// Another source each time, and out by the interface by which it seems to have come.
SECTION("xdp") int bare_send(struct packet *packet)
{
	u8 *begin = (u8 *)(u64)packet->begin, *ip = begin + ETHERNET_LEN;

	if (begin + ETHERNET_LEN + IP4_LEN > (u8 *)(u64)packet->end)
		return DROP;
	*(u32 *)(ip + 12) = random();
	return BACK;
}

SECTION("xdp") int bare_drop(struct packet *packet)
{
	return DROP;
}

SECTION("xdp") int bare_look(struct packet *packet)
{
	u8 *begin = (u8 *)(u64)packet->begin, *ip = begin + ETHERNET_LEN, *udp = ip + IP4_LEN;

	if (udp + UDP_LEN > (u8 *)(u64)packet->end)
		return PASS;
	if (*(u16 *)(begin + 12) != NET16(0x0800) || ip[0] != 0x45 || ip[9] != UDP || *(u16 *)(udp + 2) != NET16(PORT))
		return PASS;

	struct source source = { .address = *(u32 *)(ip + 12), .port = *(u16 *)udp };

	return look_up(&allowed, &source) ? PASS : DROP;
}

// Helpers that these programs call are open to every licence.
char _license[] SECTION("license") = "Apache-2.0 OR MIT";
