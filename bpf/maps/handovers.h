/* This file contains the table of flows from outside whose backend is elsewhere. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../address.h"
#include "nat.h"

/* What became of the packets of a client outside whose backend is elsewhere. The backend's node has the translation; this is
 * so that the flow stays there when the ring changes. Nothing depends on it: by the ring it is found again. */
struct handover {
	struct address address; /* the backend's, whose node gets the packets */
	__u32 service;          /* number */
	__u32 backend;          /* number */
	__u32 seen;             /* last packet, in seconds of CLOCK_MONOTONIC */
	__u32 since;            /* first packet, likewise */
	__u8 state;             /* as of a flow, of which only the client's side is seen */
	__u8 zero[3];
};

/* By the client's packet. Never LRU: a flood of SYNs must not push out what is open. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__type(key, struct nat_key);
	__type(value, struct handover);
} tb_handovers SEC(".maps");
