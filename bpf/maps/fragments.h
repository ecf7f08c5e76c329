/* This file contains the maps of fragmented packets: their ports, and what waits for these. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../address.h"

struct fragment_key {
	struct address source;
	struct address destination;
	__be32 identification;
	__u8 protocol;  /* IPv4; 0 in IPv6, where addresses and identification suffice (RFC 8200 section 4.5) */
	__u8 direction; /* FLOW_FORWARD at egress, FLOW_REPLY at ingress */
	__u16 zero;
};

struct fragment {
	__be16 source_port;
	__be16 destination_port;
	__u32 seen; /* seconds of CLOCK_MONOTONIC */
	__u32 protocol;
};

/* The ports of a fragmented packet, learnt from its first fragment. LRU maps keep up to 128 free entries aside for each
 * CPU, so that a small one would push out what is in use. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} tb_fragments SEC(".maps");

struct held_key {
	struct fragment_key packet;
	__u32 index;
};

/* Longest fragment held, in bytes from the IP header on: an Ethernet jumbo frame. */
#define HELD_BYTES 9216

struct held {
	__u32 length;
	__u32 seen; /* seconds of CLOCK_MONOTONIC */
	__u8 bytes[HELD_BYTES];
};

/* Fragments that overtook their first one, as they came. Memory is taken for those there are; tb_held_gc removes those
 * whose first never came. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct held_key);
	__type(value, struct held);
} tb_held SEC(".maps");
