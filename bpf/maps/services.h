/* This file contains the maps of services: from a frontend to the numbers of its backends. They have room for 100,000 services with
 * 4 backends each, at places of their own, and for a change of many at once; an empty hash without preallocation costs 16 bytes for
 * each entry it could hold. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "endpoint.h"

/* FLAGS of a service: */
/* the same client keeps its backend for affinity_seconds after its last new flow */
#define SERVICE_AFFINITY (1 << 0)
/* backends are chosen by the ring in tb_maglev instead of at random */
#define SERVICE_MAGLEV (1 << 1)
/* on the entry with port 0: the address is not the service's alone (a node's, an external one); ports that are
 * no service's pass untouched instead of being refused */
#define SERVICE_SHARED_ADDRESS (1 << 2)
/* outside: only clients in tb_ranges are served (loadBalancerSourceRanges) */
#define SERVICE_RANGES (1 << 3)
/* outside: packets for a backend elsewhere are handed over to its node, which answers the client itself */
#define SERVICE_DIRECT (1 << 4)

struct service {
	__u32 number;     /* names the backend set; frontends with the same backends share it */
	__u32 generation; /* of the backend set: the slots to look in */
	__u32 count;      /* slots of this generation; 0: connections are refused */
	__u32 flags;
	__u32 affinity_seconds;
};

/* Frontends. Each frontend address has a second entry with port 0 and protocol 0: it is looked up before the
 * exact one, and says that the address is a service's at all (value: flags only). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 524288);
	__type(key, struct endpoint);
	__type(value, struct service);
} tb_services SEC(".maps");

struct slot {
	__u32 service;
	__u32 generation;
	__u32 index; /* from 0 to count - 1 */
};

/* The backend numbers of a service. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 524288);
	__type(key, struct slot);
	__type(value, __u32);
} tb_slots SEC(".maps");

/* Entries of a Maglev ring: a prime, and a hundred times the backends expected (Maglev, NSDI 2016, section 5.3). */
#define MAGLEV_RING 16381

struct maglev_ring {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAGLEV_RING);
	__type(key, __u32);
	__type(value, __u32);
};

/* Service number to its ring of backend numbers; a service without a ring falls back to its slots. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__array(values, struct maglev_ring);
} tb_maglev SEC(".maps");
