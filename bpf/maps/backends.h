/* This file contains the maps of backends: by their numbers, and by where they are. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../address.h"
#include "endpoint.h"

/* STATES of a backend: */
#define BACKEND_NONE 0     /* no such backend */
#define BACKEND_ACTIVE 1   /* takes new flows */
#define BACKEND_DRAINING 2 /* keeps the flows it has; a new TCP connection of an old tuple goes elsewhere */

struct backend {
	struct address address;
	__be16 port;
	__u8 protocol;
	__u8 state;
	__u32 service; /* a backend number belongs to one service number: out of the service is out of here */
};

/* By backend number. A number is free again when its state has been BACKEND_NONE for a minute: an array is
 * written in place, and nobody may read half of one backend and half of the next. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 524288);
	__type(key, __u32);
	__type(value, struct backend);
} tb_backends SEC(".maps");

/* Where backends are, whatever their service: a flow straight to one of them has to be kept apart from a
 * translated one with the same tuple. Each backend address has a second entry with port 0 and protocol 0.
 * The value is any one of the backend numbers there (0 in the second entry). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1048576);
	__type(key, struct endpoint);
	__type(value, __u32);
} tb_endpoints SEC(".maps");
